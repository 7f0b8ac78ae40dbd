--[[ clients/client_write: writes a client's record together with its audit entry.

  m:<id> holds: v version; off "1" = disabled or revoked; exp expiry in ms, 0 = never; rec the settings (JSON); d digest of
  the secret; old, oldx the digest before it and until when that is accepted; olds those before, "digest until " each;
  made, rot, rev, used instants in ms.

  KEYS  1 meta  2 audit log: stream, capped  3 clients: sorted set of ids in the order of their creation; bounded  4 m:<id>
  ARGV  1 version the caller knows, 0 = none yet  2 "set" or "drop"  3 clients at most  4…9 the audit entry
        10… fields and values; the value of a field that begins with "@" is in ms from now
  Reply {new version, now}; {0, now} = it has another version; {-1, now} = there are too many clients
]]
--- @include "lib/time"
--- @include "lib/audit_entry"
local AUDIT, CLIENTS, RECORD = 2, 3, 4 -- KEYS
local KNOWN_VERSION, CHANGE, MAX_CLIENTS, AUDIT_ENTRY, FIRST_FIELD = 1, 2, 3, 4, 10 -- ARGV

local now = wall_clock()
local present = redis.call('HGET', KEYS[RECORD], 'v') or '0'
local is_new = present == '0'
if present ~= ARGV[KNOWN_VERSION] or is_new and ARGV[CHANGE] == 'drop' then
  return { 0, now }
end
local id, version = string.match(KEYS[RECORD], '[^:]*$'), present + 1
if ARGV[CHANGE] == 'drop' then
  redis.call('DEL', KEYS[RECORD])
  redis.call('ZREM', KEYS[CLIENTS], id)
else
  if is_new then
    if redis.call('ZCARD', KEYS[CLIENTS]) >= tonumber(ARGV[MAX_CLIENTS]) then
      return { -1, now }
    end
    local last = redis.call('ZRANGE', KEYS[CLIENTS], -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', KEYS[CLIENTS], math.max(now, tonumber(last or 0) + 1), id)
  end
  for i = FIRST_FIELD, #ARGV, 2 do
    local field, value = ARGV[i], ARGV[i + 1]
    if string.sub(field, 1, 1) == '@' then
      field, value = string.sub(field, 2), now + value
    end
    redis.call('HSET', KEYS[RECORD], field, value)
  end
  redis.call('HSET', KEYS[RECORD], 'v', version)
end
write_audit_entry(KEYS[AUDIT], AUDIT_ENTRY)
return { version, now }
