--[[ lib/fair_reserve: the units of a queue's windows that are reserved for clients below their fair share, and the record of
  what each client requested and was granted.
]]
--- @include "lib/fair_shares"
--- @include "lib/fair_demand"
local FRESH_PART = 1 / 64 -- of the span: the greatest age of the sums
local LEFT_PART = 1 / 32 -- of the limit: where more than this has left the window, the sums are computed again

--- What the requests of this call have read, by key: own = demand by client, has_all = of all clients, changed = of which it
--- is not written yet, claims = by name of a window (lib/fair_demand).
local opened = {}

--- One client's view of the shares of a queue; its own demand is parsed where it decides.
local function open_shares(key, queue, model, client)
  local common, own_text = opened[key], nil
  if not common then
    local stored = redis.call('HMGET', key, client, '=')
    own_text = stored[1]
    common = { own = {}, has_all = false, changed = {}, claims = {}, sums_text = stored[2], sums = nil }
    opened[key] = common
  elseif not common.own[client] and not common.has_all then
    own_text = redis.call('HGET', key, client)
  end
  return { key = key, queue = queue, model = model, client = client, own_text = own_text or '', common = common }
end

local comparison

--- The functions of lib/fair_demand.
local function compare_demand()
  comparison = comparison or fair_demand()
  return comparison
end

--- Sums over all active clients of a window: { weights, clients, unmet, used }.
local function sums_of(shares, list, name, w, now)
  local common = shares.common
  if common.sums_text and not common.sums then
    local sums = { at = string.match(common.sums_text, '^%d+') + 0, rpm = nil, tpm = nil, itpm = nil }
    for name_of, weights, clients, unmet, used in string.gmatch(common.sums_text, '|([^:]+):(%d+) (%d+) (%d+) (%d+)') do
      sums[name_of] = { weights = weights + 0, clients = clients + 0, unmet = unmet + 0, used = used + 0 }
    end
    common.sums = sums
  end
  local sums = common.sums
  local sum = sums and sums[name]
  if sum and now >= sums.at and now - sums.at <= w.span * FRESH_PART and w.used >= sum.used - w.max * LEFT_PART then
    return sum
  end
  compare_demand().recompute_sums(shares, list, now)
  return sums_of(shares, list, name, w, now)
end

--- Units of a window that are reserved for other clients below their share, against a request of w.units. `ahead` units are
--- queued before it, those of each client by queued(limit). request = { client, weight, is_flexible }: flexible work
--- counts as above its share.
local function fair_reserve(shares, list, w, now, request, ahead, queued)
  local sum = sums_of(shares, list, share_name(w, shares.queue, shares.model), w, now)
  if w.used + w.units + ahead + sum.unmet + w.max * LEFT_PART <= w.max then
    return 0 -- there is room even if all of them came now
  end
  return compare_demand().reserved_for_others(shares, sum, w, now, request, ahead, queued)
end

--- Whether a request leaves its client below its share of each window. Flexible work has no share.
local function is_below_share(shares, list, now, request)
  if request.is_flexible then
    return false
  end
  local shared = 0
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 and is_shared(w) then
      local name = share_name(w, shares.queue, shares.model)
      local sum, demand = sums_of(shares, list, name, w, now), current_demand(own_demand(shares), name, w, now)
      local weights = sum.weights
      if demand.requested + demand.requested_before == 0 then
        weights = weights + request.weight
      end
      if demand.live + w.units > w.max * request.weight / weights then
        return false
      end
      shared = shared + 1
    end
  end
  return shared > 0
end

--- Whether a client must leave others their share of a window: it has its own.
local function is_above_share(shares, list, now, client)
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 and is_shared(w) then
      local sum = sums_of(shares, list, share_name(w, shares.queue, shares.model), w, now)
      if compare_demand().is_above(shares, sum, w, now, client) then
        return true
      end
    end
  end
  return false
end

--- Records what a client requested and was granted: `requested` and `granted` are 1 or 0 times the units of each shared window.
local function record_demand(shares, list, now, client, weight, requested, granted)
  local own, names, shared = nil, {}, {}
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 and is_shared(w) then
      own = own_demand(shares)
      local name = share_name(w, shares.queue, shares.model)
      local demand = current_demand(own, name, w, now)
      demand.requested = demand.requested + requested * w.units
      if granted > 0 then
        add_granted(demand, w, now, w.units)
      end
      set_demand(own, name, demand)
      names[#names + 1] = name
      shared[#shared + 1] = w
    end
  end
  if not own then
    return
  end
  if requested > 0 and own.last > 0 then
    own.interval = floor(0.8 * own.interval + 0.2 * (now - own.last) + 0.5)
  end
  own.weight, own.last = weight, now
  local common = shares.common
  common.own[client], common.changed[client] = own, true
  if not common.sums_text then
    compare_demand().recompute_sums(shares, list, now) -- gives a new hash its TTL
  end
  if comparison then
    for i = 1, #names do
      comparison.update_claim(shares, names[i], shared[i], now, client, own)
    end
  end
end

--- Writes the demand that this call has changed.
local function write_changed_demand()
  for key, common in pairs(opened) do
    for client in pairs(common.changed) do
      write_demand(key, client, common.own[client])
    end
    common.changed = {}
  end
end
