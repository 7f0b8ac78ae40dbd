--[[ lib/fair_reserve: the units of a queue's windows that are reserved for clients below their fair share, and the record of
  what each client requested and was granted.
]]
--- @include "lib/fair_shares"
--- @include "lib/fair_demand"

--- One client's view of the shares of a queue; its own demand is parsed where it decides.
local function open_shares(key, queue, model, client)
  local stored = redis.call('HMGET', key, client, '=')
  return { key = key, queue = queue, model = model, own_text = stored[1] or '', sums_text = stored[2], own = nil, sums = nil }
end

local comparison

--- The functions of lib/fair_demand.
local function compare_demand()
  comparison = comparison or fair_demand()
  return comparison
end

--- Sums over all active clients of a window, at most about span/64 old: { weights, clients, unmet }.
local function sums_of(shares, list, name, w, now)
  if shares.sums_text and not shares.sums then
    local sums = { at = string.match(shares.sums_text, '^%d+') + 0, rpm = nil, tpm = nil, itpm = nil }
    for name_of, weights, clients, unmet in string.gmatch(shares.sums_text, '|([^:]+):(%d+) (%d+) (%d+)') do
      sums[name_of] = { weights = weights + 0, clients = clients + 0, unmet = unmet + 0 }
    end
    shares.sums = sums
  end
  local sums = shares.sums
  if sums and sums[name] and now >= sums.at and now - sums.at <= w.span / 64 then
    return sums[name]
  end
  compare_demand().recompute_sums(shares, list, now)
  return sums_of(shares, list, name, w, now)
end

--- Units of a window that are reserved for other clients below their share, against a request of w.units. `ahead` units are
--- queued before it, by_client(client, limit) of one client. request = { client, weight, is_flexible }: flexible work
--- counts as above its share.
local function fair_reserve(shares, list, w, now, request, ahead, by_client)
  local sum = sums_of(shares, list, share_name(w, shares.queue, shares.model), w, now)
  if w.used + w.units + ahead + sum.unmet <= w.max then
    return 0 -- there is room even if all of them came now
  end
  return compare_demand().reserved_for_others(shares, sum, w, now, request, ahead, by_client)
end

--- Records what a client requested and was granted: `requested` and `granted` are 1 or 0 times the units of each shared window.
local function record_demand(shares, list, now, client, weight, requested, granted)
  local own
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 and is_shared(w) then
      own = own_demand(shares)
      local name = share_name(w, shares.queue, shares.model)
      local slices = current_slices(own, name, w, now)
      slices.requested, slices.granted = slices.requested + requested * w.units, slices.granted + granted * w.units
      set_slices(own, name, slices)
    end
  end
  if not own then
    return
  end
  own.weight, own.last = weight, now
  if not shares.sums_text then
    compare_demand().recompute_sums(shares, list, now) -- gives a new hash its TTL
  end
  write_demand(shares.key, client, own)
end
