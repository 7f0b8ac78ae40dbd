--[[ discovery/findings_read: reads what the last look at each provider's list of models has found.

  KEYS  1 found: hash (discovery/findings_write)
  Reply {provider, findings, …}
]]
return redis.call('HGETALL', KEYS[1])
