--[[ lib/fair_shares: the demand of each client for the windows of a queue, from which its fair share follows.

  For sliding windows and token buckets with a span up to an hour. One hash per queue: <client> = "weight last interval", then
  for each window "|name;slice requested requested_before live newest_end newest older": `last` request, and the average ms
  between requests; the limit's name, with "@model" where the queue spans models and the window does not; units requested in
  two slices of one span (the present and the previous); `live`: units granted within the last span, which are those of
  `newest`, charged from newest_end on, and of `older`: "end=units," each, the oldest first. A charge counts as long as in the
  window itself; charges within a 40th of the span are counted together.

  "=": sums over the active clients (lib/fair_sums). A client is active while it has requested something within the last two
  spans. No limit depends on any of this.
]]
--- @include "lib/window"
local MAX_SHARED_SPAN_MS = 3600000
local CHARGES_PER_SPAN = 40

local function is_shared(w)
  return (w.kind == 's' or w.kind == 'b' or w.kind == 'm') and w.span <= MAX_SHARED_SPAN_MS
end

local function share_name(w, queue, model)
  if string.sub(queue, 1, 1) == 'a' and not string.find(w.limit, '^%u') then
    return w.limit .. '@' .. model
  end
  return w.limit
end

--- One client's field as { weight, last, interval, names, [name] = demand for one window }.
local function parse_demand(text)
  local weight, last, interval = string.match(text, '^(%d+) (%d+) (%d+)')
  local names = {}
  local demand = {
    weight = (weight or 1) + 0, last = (last or 0) + 0, interval = (interval or 0) + 0, names = names, rpm = nil, tpm = nil,
  }
  for name, slice, requested, requested_before, live, newest_end, newest, older in
    string.gmatch(text, '|(.-);(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([^|]*)') do
    names[#names + 1] = name
    demand[name] = {
      slice = slice + 0, requested = requested + 0, requested_before = requested_before + 0, live = live + 0,
      newest_end = newest_end + 0, newest = newest + 0, older = older,
    }
  end
  return demand
end

--- Drops the charges that have left a window.
local function drop_expired(demand, w, now)
  local gone, at = now - w.span - arrival_slack, 1
  while true do
    local stop, units, next_at = string.match(demand.older, '^(%d+)=(%d+),()', at)
    if not stop or stop + 0 > gone then
      break
    end
    demand.live, at = demand.live - units, next_at
  end
  if at > 1 then
    demand.older = string.sub(demand.older, at)
  end
  if demand.newest_end <= gone then
    demand.live, demand.newest, demand.older = 0, 0, ''
  end
end

--- The demand for one window as it is now.
local function current_demand(of_client, name, w, now)
  local slice, demand = floor(now / w.span), of_client[name]
  if not demand then
    return { slice = slice, requested = 0, requested_before = 0, live = 0, newest_end = 0, newest = 0, older = '' }
  end
  if demand.slice < slice then
    demand.requested_before = demand.slice == slice - 1 and demand.requested or 0
    demand.requested, demand.slice = 0, slice
  end
  if demand.live > 0 then
    drop_expired(demand, w, now)
  end
  return demand
end

--- Adds units that were charged to a window which has been checked.
local function add_granted(demand, w, now, units)
  local stop = w.kind == 'b' and now or w.position
  if demand.newest > 0 and stop >= demand.newest_end + w.span / CHARGES_PER_SPAN then
    demand.older = format('%s%d=%d,', demand.older, demand.newest_end, demand.newest)
    demand.newest = 0
  end
  if demand.newest == 0 then
    demand.newest_end = stop
  end
  demand.live, demand.newest = demand.live + units, demand.newest + units
end

--- Takes units away from the charges, the newest first.
local function take_granted(demand, units)
  demand.live = max(0, demand.live - units)
  local taken = min(units, demand.newest)
  demand.newest, units = demand.newest - taken, units - taken
  while units > 0 do
    local at = string.find(demand.older, '%d+=%d+,$')
    if not at then
      return
    end
    local stop, of_charge = string.match(demand.older, '^(%d+)=(%d+),$', at)
    taken = min(units, of_charge + 0)
    units = units - taken
    demand.older = string.sub(demand.older, 1, at - 1)
    if taken < of_charge + 0 then
      demand.older = format('%s%d=%d,', demand.older, stop, of_charge - taken)
    end
  end
end

local function set_demand(of_client, name, demand)
  if not of_client[name] then
    of_client.names[#of_client.names + 1] = name
  end
  of_client[name] = demand
end

--- One client's field as text.
local function pack_demand(of_client)
  local text = format('%d %d %d', of_client.weight, of_client.last, of_client.interval)
  for i = 1, #of_client.names do
    local name = of_client.names[i]
    local d = of_client[name]
    text = text .. format('|%s;%d %d %d %d %d %d %s', name, d.slice, d.requested, d.requested_before, d.live, d.newest_end,
      d.newest, d.older)
  end
  return text
end
