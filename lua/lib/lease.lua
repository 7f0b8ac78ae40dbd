--[[ lib/lease: the record of an admission: doubles, low byte first.

  candidate, provider generation, model generation, provider probe, model probe: number of the candidate; the generations of
  its provider's breaker and of its model's for which the lease may report; 1 where the request is the probe of that
  breaker. Then five for each window, the client's first: position of its charge (-1: nothing was charged), second position
  or 0, units charged, and the window's charged_total and used units just after the charge.

  The key holds 'x' instead once the lease was settled, or where it must never be made.
]]
--- @include "lib/window"
local LEASE_FIELDS, WINDOW_FIELDS = 5, 5

--- The id in the name of a lease's key.
local function lease_id(key)
  return string.match(key, '^.*:(.*)$')
end

local function unpack_lease(packed)
  return { struct.unpack('<' .. string.rep('d', #packed / 8), packed) }
end

local function pack_lease(lease, fields)
  return struct.pack('<' .. string.rep('d', fields), unpack(lease, 1, fields))
end

--- How many fields stand before those of the window with this number.
local function window_offset(number)
  return LEASE_FIELDS + WINDOW_FIELDS * (number - 1)
end

--- Position, second position, units charged, charged_total and used of the window with this number.
local function lease_charge(lease, number)
  local offset = window_offset(number)
  return unpack(lease, offset + 1, offset + WINDOW_FIELDS)
end

--- The fields of a window, packed, for the charge that `charge` will make.
local function pack_charge(w)
  local units = w.units
  if units == 0 then
    return struct.pack('<ddddd', -1, 0, 0, 0, 0)
  end
  return struct.pack('<ddddd', w.position, w.second_position or 0, units, w.charged_total + units, ceil(w.used + units))
end
