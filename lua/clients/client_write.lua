--[[ clients/client_write: writes a member's record and the audit entry of it, both or neither.

  m:<id> holds: v version; off "1" = disabled or revoked; exp ms, 0 = never; rec what an admin said (JSON); d digest of the
  secret; old, oldx the digest before and until when it works; made, rot, rev, used instants in ms.

  KEYS  1 meta  2 audit: stream, capped  3 clients: sorted set of ids by the order they were made in; bounded  4 m:<id>
  ARGV  1 version that the caller knows, 0 = none yet  2 "set" or "drop"  3 most members  4…9 the audit entry
        10… fields and values; a value of a field that begins with "@" is ms from now
  Reply {new version, now}; {0, now} = it has another version, {-1, now} = there are too many members
]]
--- @include "lib/clock"
--- @include "lib/audit_entry"
local now = clock(redis.call('HGET', KEYS[1], 't'))
local known = redis.call('HGET', KEYS[4], 'v') or '0'
if known ~= ARGV[1] or known == '0' and ARGV[2] == 'drop' then
  return { 0, now }
end
local id, version = string.match(KEYS[4], '[^:]*$'), known + 1
if ARGV[2] == 'drop' then
  redis.call('DEL', KEYS[4])
  redis.call('ZREM', KEYS[3], id)
else
  if known == '0' then
    if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then
      return { -1, now }
    end
    local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', KEYS[3], math.max(now, tonumber(last or 0) + 1), id)
  end
  for i = 10, #ARGV, 2 do
    local field, value = ARGV[i], ARGV[i + 1]
    if string.sub(field, 1, 1) == '@' then
      field, value = string.sub(field, 2), now + value
    end
    redis.call('HSET', KEYS[4], field, value)
  end
  redis.call('HSET', KEYS[4], 'v', version)
end
audit(KEYS[2], 4)
return { version, now }
