--[[ clients/client_touch: records when client keys were last used, in batches of one replica.

  KEYS  1 meta  2… m:<id> of the records (clients/client_write)
  ARGV  for each record: ms since its key was used
  Reply how many records were changed
]]
--- @include "lib/time"
local FIRST_RECORD = 2 -- KEYS

local now, changed = wall_clock(), 0
for k = FIRST_RECORD, #KEYS do
  local record = redis.call('HMGET', KEYS[k], 'v', 'used')
  local version, last_used = record[1], tonumber(record[2] or 0)
  local used = now - tonumber(ARGV[k - FIRST_RECORD + 1])
  -- Without a version the record was deleted; writing a field would bring it back.
  if version and used > last_used then
    redis.call('HSET', KEYS[k], 'used', used)
    changed = changed + 1
  end
end
return changed
