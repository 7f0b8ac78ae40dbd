--[[ clients/client_touch: when members' keys were last used, in batches of one replica.

  KEYS  1 meta  2… m:<id>
  ARGV  1… of each: how long ago, ms
  Reply of how many it was noted
]]
--- @include "lib/clock"
local now, noted = clock(redis.call('HGET', KEYS[1], 't')), 0
for k = 2, #KEYS do
  local state = redis.call('HMGET', KEYS[k], 'v', 'used')
  local used = now - tonumber(ARGV[k - 1])
  -- A record that is gone must not come back as a field of itself.
  if state[1] and used > tonumber(state[2] or 0) then
    redis.call('HSET', KEYS[k], 'used', used)
    noted = noted + 1
  end
end
return noted
