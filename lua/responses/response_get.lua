--[[ responses/response_get: reads a stored response of a client, or the conversation that ends with it.

  KEYS  1 meta  2 resp:<client>
  ARGV  1 id  2 responses at most: the response, the one before it, and so on
  Reply {input items, object} of each, the latest first; {} = one of them is not stored, or there are more
]]
--- @include "lib/time"
local RESPONSES = 2 -- KEYS
local ID, MAX_RESPONSES = 1, 2 -- ARGV

local now = wall_clock()
local id, found = ARGV[ID], {}
for _ = 1, tonumber(ARGV[MAX_RESPONSES]) do
  local stored = redis.call('HMGET', KEYS[RESPONSES], 'p' .. id, 'i' .. id, 'o' .. id, 'u' .. id)
  local previous, input, object, keep_until = stored[1], stored[2], stored[3], stored[4]
  if not object or tonumber(keep_until) <= now then
    return {}
  end
  found[#found + 1] = input
  found[#found + 1] = object
  if previous == '' or ARGV[MAX_RESPONSES] == '1' then
    return found
  end
  id = previous
end
return {}
