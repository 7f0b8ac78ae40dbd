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

--- Forgets charged_total of the window with this number, because another window counts now: its charge is not refunded.
local function forget_total(lease, number)
  lease[window_offset(number) + 4] = 0
end

--- Appends the charge that `charge` will make for each window. (One field at a time, in order: a multiple assignment starts
--- with the last one, and the table would be laid out again and again.)
local function append_charges(lease, windows)
  local n = #lease
  for i = 1, #windows do
    local w = windows[i]
    local units = w.units
    local is_charged = units > 0
    lease[n + 1] = is_charged and w.position or -1
    lease[n + 2] = is_charged and w.second_position or 0
    lease[n + 3] = units
    lease[n + 4] = is_charged and w.charged_total + units or 0
    lease[n + 5] = is_charged and ceil(w.used + units) or 0
    n = n + WINDOW_FIELDS
  end
end
