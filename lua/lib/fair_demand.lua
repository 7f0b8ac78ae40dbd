--[[ lib/fair_demand: compares the demand of all clients of a queue. ]]
--- @include "lib/fair_shares"

--- Most calls do without: its functions are made where sums are old, or where a reserve may decide (lib/window_kinds).
local function fair_demand()
  local PACE_MARGIN = 1.03 -- a client may want this much more than it has requested

  --- Units that a client was granted within about the last span.
  local function recently_granted(slices, w, now)
    return slices.granted + slices.granted_before * (1 - now % w.span / w.span)
  end

  --- What a client still wants of its share: what it requested within about the last span less what it was granted. Both are
  --- weighed alike, so a client that stops asking releases at once what it was granted before.
  local function unmet_share(slices, w, now, share)
    local requested = slices.requested + slices.requested_before * (1 - now % w.span / w.span)
    return min(share, PACE_MARGIN * requested) - recently_granted(slices, w, now)
  end

  --- The demand of all clients of a queue, read once per call.
  local function all_demand(shares)
    if not shares.all then
      local flat = redis.call('HGETALL', shares.key)
      shares.all = {}
      for i = 1, #flat, 2 do
        if flat[i] ~= '=' then
          shares.all[flat[i]] = parse_demand(flat[i + 1])
        end
      end
    end
    return shares.all
  end

  --- Computes the sums over active clients again, and deletes clients that have been inactive for long.
  local function recompute_sums(shares, list, now)
    local all, text, longest = all_demand(shares), { decimal(now) }, 0
    for i = 1, #list do
      local w = list[i]
      if is_shared(w) then
        local name, weights, clients, unmet, active = share_name(w, shares.queue, shares.model), 0, 0, 0, {}
        for _, demand in pairs(all) do
          local slices = current_slices(demand, name, w, now)
          if slices.requested + slices.requested_before > 0 then
            weights, clients = weights + demand.weight, clients + 1
            active[clients] = { slices, demand.weight }
          end
        end
        for j = 1, clients do
          unmet = unmet + max(0, unmet_share(active[j][1], w, now, w.max * active[j][2] / weights))
        end
        text[#text + 1] = string.format('%s:%d %d %d', name, weights, clients, unmet + 0.5)
        longest = max(longest, w.span)
      end
    end
    if string.sub(shares.queue, 1, 1) == 'a' then
      longest = MAX_SHARED_SPAN_MS -- this call sees the windows of one model only
    end
    for client, demand in pairs(all) do
      if demand.last < now - 2 * longest then
        redis.call('HDEL', shares.key, client)
      end
    end
    shares.sums_text, shares.sums = table.concat(text, '|'), nil
    redis.call('HSET', shares.key, '=', shares.sums_text)
    redis.call('PEXPIRE', shares.key, decimal(3 * longest))
  end

  --- Units of a window that are reserved for other clients below their share, where not all of them would fit: see
  --- fair_reserve (lib/fair_reserve).
  local function reserved_for_others(shares, sum, w, now, request, ahead, by_client)
    local name = share_name(w, shares.queue, shares.model)
    local slices, weights, clients = current_slices(own_demand(shares), name, w, now), sum.weights, sum.clients
    if slices.requested + slices.requested_before == 0 then
      weights, clients = weights + request.weight, clients + 1
    end
    if clients <= 1 then
      return 0
    end
    local granted, share = recently_granted(slices, w, now), w.max * request.weight / weights
    if not request.is_flexible and (granted == 0 or granted + w.units <= share) then
      return 0
    end
    local reserved = 0
    if not by_client then
      reserved = sum.unmet - max(0, unmet_share(slices, w, now, share)) -- without reading all clients
    else
      for other, demand in pairs(all_demand(shares)) do
        local theirs = current_slices(demand, name, w, now)
        if other ~= request.client and theirs.requested + theirs.requested_before > 0 then
          local queued = by_client(other, w.limit)
          local unmet = unmet_share(theirs, w, now, w.max * demand.weight / weights)
          reserved = reserved + max(0, unmet - queued)
        end
      end
    end
    return max(0, min(floor(reserved + 1e-6), w.max - w.units - ahead))
  end

  return { recompute_sums = recompute_sums, reserved_for_others = reserved_for_others }
end
