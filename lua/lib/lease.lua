--[[ lib/lease: what is written down of an admission: numbers, as they lie in memory, low byte first.

  candidate, gen-p, gen-b, probe-p, probe-b: which of those asked for; the generation of its provider's breaker and of its
  model's that it may speak for; 1 where it is their probe. Then five of each window, the client's first: place, also, units,
  q, used: where its charge stands (-1: nowhere, nothing was charged), a second place or 0, and the units charged, all ever
  charged and all there just after. The key holds 'x' instead where it was settled, or shall never be made.
]]
local HEADS = 5 -- numbers in front of the windows'
local EACH = 5 -- numbers of each window

--- The id in the name of a lease's key.
local function id_of(key)
  return string.match(key, '^.*:(.*)$')
end

local function read_lease(held)
  return { struct.unpack('<' .. string.rep('d', #held / 8), held) }
end

local function lease_of(numbers, count)
  return struct.pack('<' .. string.rep('d', count), unpack(numbers, 1, count))
end
