--[[ lib/fair_reserve: the units of a queue's windows that are reserved for clients below their fair share, and the record of
  what each client requested and was granted.
]]
--- @include "lib/fair_shares"
--- @include "lib/fair_sums"
--- @include "lib/fair_opened"
--- @include "lib/fair_demand"
local LEFT_PART = 1 / 32 -- of the limit: where more than this has left the window, the sums are computed again

local comparison

--- The functions of lib/fair_demand.
local function compare_demand()
  comparison = comparison or fair_demand()
  return comparison
end

--- The sums of a window; is_exact: computed again where a charge has left the window since, or a claim has lapsed.
local function sum_of(shares, list, name, w, now, is_exact)
  local sum = sums_by_name(shares.common)[name]
  if sum and now >= sum.at and now - sum.at <= fresh_ms(w, sum.clients) and w.used >= sum.used - w.max * LEFT_PART
    and not (is_exact and now >= sum.exact_until and sum.clients <= MAX_COMPARED) then
    return sum
  end
  compare_demand().recompute_sums(shares, list, now)
  return shares.common.sums[name]
end

--- Units of a window that are reserved for other clients below their share, against a request of w.units. `ahead` units are
--- queued before it, those of each client by queued(limit). request = { client, weight, is_flexible }: flexible work
--- counts as above its share.
local function fair_reserve(shares, list, w, now, request, ahead, queued)
  local name = share_name(w, shares.queue, shares.model)
  local sum = sum_of(shares, list, name, w, now, false)
  if w.used + w.units + ahead + sum.unmet + w.max * LEFT_PART <= w.max then
    return 0 -- there is room even if all of them came now
  end
  sum = sum_of(shares, list, name, w, now, true)
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
      local sum = sum_of(shares, list, name, w, now, false)
      local demand, weights = current_demand(demand_of(shares, shares.client), name, w, now), sum.weights
      if not is_active(demand) then
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
      local name = share_name(w, shares.queue, shares.model)
      local sum, of_client = sum_of(shares, list, name, w, now, false), demand_of(shares, client)
      local demand = current_demand(of_client, name, w, now)
      if demand.live > 0 and demand.live + w.units > w.max * of_client.weight / max(1, sum.weights) then
        return true
      end
    end
  end
  return false
end

--- Records what a client requested and was granted: `requested` and `granted` are 1 or 0 times the units of each shared window.
local function record_demand(shares, list, now, client, weight, requested, granted)
  local common, shared = shares.common, {}
  for i = 1, #list do
    if list[i].units > 0 and is_shared(list[i]) then
      shared[#shared + 1] = list[i]
    end
  end
  if #shared == 0 then
    return
  end
  local own, sums, before = demand_of(shares, client), sums_by_name(common), {}
  own.weight = weight
  for i = 1, #shared do
    local w = shared[i]
    local name = share_name(w, shares.queue, shares.model)
    local demand, sum = current_demand(own, name, w, now), sums[name]
    before[i] = sum and claim(own, demand, w, now, sum.weights)
    if sum and requested > 0 and not is_active(demand) then
      sum.weights, sum.clients, common.have_sums_changed = sum.weights + weight, sum.clients + 1, true
      sum.exact_until = now -- the shares of all others are smaller
    end
    demand.requested = demand.requested + requested * w.units
    if granted > 0 then
      add_granted(demand, w, now, w.units)
    end
    set_demand(own, name, demand)
  end
  if requested > 0 and own.last > 0 then
    own.interval = floor(0.8 * own.interval + 0.2 * (now - own.last) + 0.5)
  end
  own.last = now
  for i = 1, #shared do
    local w = shared[i]
    local name = share_name(w, shares.queue, shares.model)
    if before[i] and adjust_unmet(sums[name], w, claim(own, own[name], w, now, sums[name].weights) - before[i]) then
      common.have_sums_changed = true
    end
  end
  common.changed[client] = true
  if not common.sums_text then
    compare_demand().recompute_sums(shares, list, now) -- gives a new hash its TTL
  end
end
