--[[ clients/sessions: an administrator's sessions on the web page, valid at every replica.

  KEYS  1 audit log: stream, capped  2 sess:<digest of the cookie>: string; its TTL is the remaining lifetime
  ARGV  1 "open", "look" or "end"  2 fingerprint of the admin key that opened the session: another key ends it
        3 lifetime in ms  4…9 the audit entry
  Reply the remaining lifetime in ms; 0 = there is no such session
]]
--- @include "lib/audit_entry"
local AUDIT, SESSION = 1, 2 -- KEYS
local ACTION, FINGERPRINT, LIFETIME, AUDIT_ENTRY = 1, 2, 3, 4 -- ARGV

if ARGV[ACTION] == 'open' then
  redis.call('SET', KEYS[SESSION], ARGV[FINGERPRINT], 'PX', ARGV[LIFETIME])
  write_audit_entry(KEYS[AUDIT], AUDIT_ENTRY)
  return tonumber(ARGV[LIFETIME])
end
if redis.call('GET', KEYS[SESSION]) ~= ARGV[FINGERPRINT] then
  return 0
end
local remaining = redis.call('PTTL', KEYS[SESSION])
if ARGV[ACTION] == 'end' then
  redis.call('DEL', KEYS[SESSION])
  write_audit_entry(KEYS[AUDIT], AUDIT_ENTRY)
end
return math.max(1, remaining)
