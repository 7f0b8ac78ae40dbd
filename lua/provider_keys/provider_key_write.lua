--[[ provider_keys/provider_key_write: writes the record of one provider key with its audit entry, and announces the new version.

  A key that is disabled or deleted is withdrawn: it gets a cooldown in `health` (lib/cooldown), so that not even a replica
  whose catalogue still has the key admits with it.

  KEYS  1 meta  2 health  3 audit log: stream, capped  4 pk: hash, <id> = record (JSON); v = version, which never comes again,
        also after a loss of the store; bounded  5-9 the wait queue (lib/queue_keys)
  ARGV  1 id  2 the record as the caller knows it, "" = none yet  3 the new record, "" = delete it  4 keys at most
        5 provider/fingerprint, the subject of its cooldown  6 "keep" or "end" its cooldown, or ms for which the key is
        withdrawn, 0 = until this is ended
        7…12 the audit entry; none: the record says the same in another form, so the version stays
  Reply {version, now}; {0, now} = the record is another one; {-1, now} = there are too many keys
]]
--- @include "lib/pool_clock"
--- @include "lib/audit_entry"
--- @include "lib/queue_keys"
local META, HEALTH, AUDIT, RECORDS, QUEUE = 1, 2, 3, 4, 5 -- KEYS
local ID, KNOWN, RECORD, MAX_KEYS, SUBJECT, COOLDOWN, AUDIT_ENTRY = 1, 2, 3, 4, 5, 6, 7 -- ARGV
local WITHOUT_END = 2 ^ 53

local now = wall_clock()
local records, id = KEYS[RECORDS], ARGV[ID]
local present = redis.call('HGET', records, id) or ''
if present ~= ARGV[KNOWN] or present == '' and ARGV[RECORD] == '' then
  return { 0, now }
end
local version = tonumber(redis.call('HGET', records, 'v') or 0)
if present == '' and redis.call('HLEN', records) > tonumber(ARGV[MAX_KEYS]) then -- one field is the version
  return { -1, now }
end
if ARGV[RECORD] == '' then
  redis.call('HDEL', records, id)
else
  redis.call('HSET', records, id, ARGV[RECORD])
end

local field, cooldown = 'k:' .. ARGV[SUBJECT], ARGV[COOLDOWN]
if cooldown == 'end' then
  redis.call('HDEL', KEYS[HEALTH], field)
elseif cooldown ~= 'keep' then
  local cooldown_until = cooldown == '0' and WITHOUT_END or pool_clock(KEYS[META]) + cooldown
  redis.call('HSET', KEYS[HEALTH], field, string.format('%.0f withdrawn|', cooldown_until))
end

if ARGV[AUDIT_ENTRY] then
  version = math.max(now, version + 1)
  redis.call('HSET', records, 'v', string.format('%.0f', version))
  redis.call('PUBLISH', queue_keys(QUEUE).queue, string.format('provider_keys %.0f', version))
  write_audit_entry(KEYS[AUDIT], AUDIT_ENTRY)
end
return { version, now }
