--[[ discovery/findings_read: reads what the last look at each provider's list of models has found, and which models were refused.

  KEYS  1 found: hash (discovery/findings_write)  2 gone: hash (discovery/model_refused)
  Reply {{provider, findings, …}, {provider/model, refusal, …}}
]]
local FOUND, GONE = 1, 2 -- KEYS

return { redis.call('HGETALL', KEYS[FOUND]), redis.call('HGETALL', KEYS[GONE]) }
