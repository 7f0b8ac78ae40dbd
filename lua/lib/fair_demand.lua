--[[ lib/fair_demand: the sums over all clients of a queue, and the reserve that follows from them. ]]
--- @include "lib/fair_shares"
--- @include "lib/fair_sums"
--- @include "lib/fair_opened"
--- @include "lib/window_kinds"

--- Most calls do without: its functions are made where sums are old, or where a reserve may decide (lib/window_kinds).
local function fair_demand()
  --- The demand of all clients of a queue, read once per call.
  local function all_demand(shares)
    local common = shares.common
    if not common.has_all then
      local flat, own = redis.call('HGETALL', shares.key), common.own
      for i = 1, #flat, 2 do
        local client = flat[i]
        if client ~= '=' and not own[client] then
          own[client] = parse_demand(flat[i + 1])
        end
      end
      common.has_all = true
    end
    return common.own
  end

  --- The instant from which a client's oldest charge counts no more.
  local function leaves_at(demand, w)
    local oldest = demand.older ~= '' and string.match(demand.older, '^%d+') or demand.newest_end
    return oldest + w.span + arrival_slack
  end

  --- The sums of one window.
  local function sum_up(all, name, w, now)
    local weights, clients, unmet, exact_until, active = 0, 0, 0, now + w.span, {}
    for _, of_client in pairs(all) do
      local demand = current_demand(of_client, name, w, now)
      if is_active(demand) then
        weights, clients = weights + of_client.weight, clients + 1
        active[clients] = { of_client, demand }
      end
    end
    for i = 1, clients do
      local of_client, demand = active[i][1], active[i][2]
      local units = claim(of_client, demand, w, now, weights)
      unmet = unmet + units
      if units > 0 then
        exact_until = min(exact_until, of_client.last + kept_ms(of_client) + 1)
      end
      if demand.live > 0 then
        exact_until = min(exact_until, leaves_at(demand, w))
      end
    end
    return {
      at = now, exact_until = floor(exact_until), weights = weights, clients = clients, unmet = unmet, used = max(0, w.used),
    }
  end

  --- Computes the sums of the windows of a list again, and deletes clients that have been inactive for long.
  local function recompute_sums(shares, list, now)
    local all, common, sums, longest = all_demand(shares), shares.common, {}, 0
    for name, sum in pairs(sums_by_name(common)) do
      if now - sum.at <= MAX_FRESH_MS then
        sums[name] = sum -- of another model; those of this one are replaced below
      end
    end
    for i = 1, #list do
      local w = list[i]
      if is_shared(w) then
        if w.used == 0 and w.units > 0 then
          rules_of(w).check(w, now, 0) -- this call may not have read it yet
        end
        local name = share_name(w, shares.queue, shares.model)
        sums[name] = sum_up(all, name, w, now)
        longest = max(longest, w.span)
      end
    end
    if string.sub(shares.queue, 1, 1) == 'a' then
      longest = MAX_SHARED_SPAN_MS -- this call sees the windows of one model only
    end
    for client, of_client in pairs(all) do
      if of_client.last < now - 2 * longest then
        redis.call('HDEL', shares.key, client)
      end
    end
    common.sums, common.sums_text, common.have_sums_changed = sums, pack_sums(sums), false
    redis.call('HSET', shares.key, '=', common.sums_text)
    redis.call('PEXPIRE', shares.key, decimal(3 * longest))
  end

  --- Units of a window that are reserved for other clients below their share, where not all of them would fit: see
  --- fair_reserve (lib/fair_reserve).
  local function reserved_for_others(shares, sum, w, now, request, ahead, queued)
    local name = share_name(w, shares.queue, shares.model)
    local own = demand_of(shares, request.client)
    local demand, weights, clients = current_demand(own, name, w, now), sum.weights, sum.clients
    if not is_active(demand) then
      weights, clients = weights + request.weight, clients + 1
    end
    if clients <= 1 then
      return 0
    end
    local share = w.max * request.weight / weights
    if not request.is_flexible and (demand.live == 0 or demand.live + w.units <= share) then
      return 0
    end
    local reserved = sum.unmet - claim(own, demand, w, now, weights)
    if queued and clients > MAX_COMPARED then
      reserved = reserved - ahead -- as if all of that were of clients with claims
    elseif queued then
      local by_client, field = queued(w.limit)
      for client, units in pairs(by_client) do
        if client ~= request.client then
          local other = demand_of(shares, client)
          reserved = reserved - min(units[field] or 0, claim(other, current_demand(other, name, w, now), w, now, weights))
        end
      end
    end
    return max(0, min(floor(reserved + 1e-6), w.max - w.units - ahead))
  end

  return { recompute_sums = recompute_sums, reserved_for_others = reserved_for_others }
end
