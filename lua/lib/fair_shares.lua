--[[ lib/fair_shares: the demand of each client for the windows of a queue, from which its fair share follows.

  For sliding windows and token buckets with a span up to an hour. One hash per queue, in two slices of one span (the
  present and the previous): <client> = "weight last", then for each window "|name:slice requested requested_before granted
  granted_before"; name = the limit, with "@model" where the queue spans models and the window does not. "=" = "at", then
  for each window "|name:weights clients unmet": sums over the active clients, and what all of them still want; computed
  again when older than span/64. A client is active while it has requested something within the last two spans; units are
  reserved for active clients only. No limit depends on any of this.
]]
--- @include "lib/window"
local MAX_SHARED_SPAN_MS = 3600000

local function is_shared(w)
  return (w.kind == 's' or w.kind == 'b' or w.kind == 'm') and w.span <= MAX_SHARED_SPAN_MS
end

local function share_name(w, queue, model)
  if string.sub(queue, 1, 1) == 'a' and not string.find(w.limit, '^%u') then
    return w.limit .. '@' .. model
  end
  return w.limit
end

--- One client's field as { weight, last, names, [name] = { slice, requested, requested_before, granted, granted_before } }.
local function parse_demand(text)
  local weight, last = string.match(text, '^(%d+) (%d+)')
  local names = {}
  local demand = { weight = (weight or 1) + 0, last = (last or 0) + 0, names = names, rpm = nil, tpm = nil }
  for name, slice, requested, requested_before, granted, granted_before in
    string.gmatch(text, '|([^:]+):(%d+) (%d+) (%d+) (%d+) (%d+)') do
    names[#names + 1] = name
    demand[name] = {
      slice = slice + 0, requested = requested + 0, requested_before = requested_before + 0, granted = granted + 0,
      granted_before = granted_before + 0,
    }
  end
  return demand
end

--- The slices of one window, moved forward to `now`; they are empty where the client has requested nothing for two spans.
local function current_slices(demand, name, w, now)
  local slice = floor(now / w.span)
  local slices = demand[name]
  if not slices or slices.slice < slice - 1 then
    return { slice = slice, requested = 0, requested_before = 0, granted = 0, granted_before = 0 }
  elseif slices.slice == slice - 1 then
    return {
      slice = slice, requested = 0, requested_before = slices.requested, granted = 0, granted_before = slices.granted,
    }
  end
  return slices
end

--- A client's own demand, of what open_shares (lib/fair_reserve) has read.
local function own_demand(shares)
  if not shares.own then
    shares.own = parse_demand(shares.own_text)
  end
  return shares.own
end

local function set_slices(demand, name, slices)
  if not demand[name] then
    demand.names[#demand.names + 1] = name
  end
  demand[name] = slices
end

local function write_demand(key, client, demand)
  local text = string.format('%d %d', demand.weight, demand.last)
  for i = 1, #demand.names do
    local name = demand.names[i]
    local s = demand[name]
    text = text .. format('|%s:%d %d %d %d %d', name, s.slice, s.requested, s.requested_before, s.granted,
      s.granted_before)
  end
  redis.call('HSET', key, client, text)
end
