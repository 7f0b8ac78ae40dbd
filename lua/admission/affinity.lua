--[[ admission/affinity: the candidate that last served a session of a client, as every replica knows it.

  KEYS  1 stay:<digest of client, model and session>: string; lives for ARGV 1 after its last use
  ARGV  1 TTL in ms  2 the candidate that serves the session from now on; "": only reads
  Reply the candidate; "" = none
]]
local TTL, CANDIDATE = 1, 2 -- ARGV

if ARGV[CANDIDATE] == '' then
  return redis.call('GETEX', KEYS[1], 'PX', ARGV[TTL]) or ''
end
redis.call('SET', KEYS[1], ARGV[CANDIDATE], 'PX', ARGV[TTL])
return ARGV[CANDIDATE]
