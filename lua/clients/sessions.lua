--[[ clients/sessions: an admin's log-ins by a web page, good at every replica until they end.

  KEYS  1 audit: stream, capped  2 sess:<digest of the cookie>: string; its TTL is what is left of it
  ARGV  1 "open", "look" or "end"  2 fingerprint of the admin key that opened it: with another key it is none
        3 how long it lasts, ms  4…9 the audit entry
  Reply ms left; 0 = there is no such session
]]
--- @include "lib/audit_entry"
if ARGV[1] == 'open' then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  audit(KEYS[1], 4)
  return tonumber(ARGV[3])
end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
local left = redis.call('PTTL', KEYS[2])
if ARGV[1] == 'end' then
  redis.call('DEL', KEYS[2])
  audit(KEYS[1], 4)
end
return math.max(1, left)
