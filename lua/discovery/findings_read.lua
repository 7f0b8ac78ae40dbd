--[[ discovery/findings_read: reads what the last look at each provider's list of models has found, which models were refused, and
  what is used of allowances.

  KEYS  1 found: hash (discovery/findings_write)  2 gone: hash (discovery/model_refused)
        3 allow: hash (discovery/findings_write), <provider>/<account> = "millionths instant"
  Reply {{provider, findings, …}, {provider/model, refusal, …}, {provider/account, allowance, …}}
]]
local FOUND, GONE, ALLOWANCES = 1, 2, 3 -- KEYS

return {
  redis.call('HGETALL', KEYS[FOUND]),
  redis.call('HGETALL', KEYS[GONE]),
  redis.call('HGETALL', KEYS[ALLOWANCES]),
}
