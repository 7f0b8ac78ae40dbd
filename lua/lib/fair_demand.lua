--[[ lib/fair_demand: compares the demand of all clients of a queue. ]]
--- @include "lib/fair_shares"
--- @include "lib/window_kinds"

--- Most calls do without: its functions are made where sums are old, or where a reserve may decide (lib/window_kinds).
local function fair_demand()
  local CLAIM_KEPT_MS = 2000 -- a claim of a client that asks no more is lent after this time, or after two of its intervals
  local MAX_COMPARED = 128 -- clients whose claims are compared one by one; of more the sums decide

  --- Units that a client may claim of its share: what it requested within about the last span, less what it was granted of it
  --- that still counts. What left the window is claimed again at once, by whoever asks.
  local function claim(of_client, demand, w, now, share)
    if now - of_client.last > max(CLAIM_KEPT_MS, 2 * of_client.interval) then
      return 0
    end
    local requested = demand.requested + demand.requested_before * (1 - now % w.span / w.span)
    local counted = (w.span + arrival_slack + sub_bucket_ms(w.max, w.span)) / w.span -- spans for which a charge counts
    return max(0, min(share, requested * counted + 1) - demand.live)
  end

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

  --- What each active client may claim of a window: `units` by client, of these `clients`.
  local function claims_of(shares, name, w, now, weights)
    local by_name = shares.common.claims
    local claims = by_name[name]
    if not claims or claims.weights ~= weights then
      claims = { weights = weights, clients = {}, units = {} }
      by_name[name] = claims
      for client, of_client in pairs(all_demand(shares)) do
        local demand = current_demand(of_client, name, w, now)
        if demand.requested + demand.requested_before > 0 then
          claims.clients[#claims.clients + 1] = client
          claims.units[client] = claim(of_client, demand, w, now, w.max * of_client.weight / weights)
        end
      end
    end
    return claims
  end

  --- Computes the claim of a client again, whose demand has changed in this call.
  local function update_claim(shares, name, w, now, client, of_client)
    local by_name = shares.common.claims
    local claims = by_name[name]
    if claims and claims.units[client] then
      claims.units[client] = claim(of_client, of_client[name], w, now, w.max * of_client.weight / claims.weights)
    else
      by_name[name] = nil -- it has become active
    end
  end

  --- Computes the sums over active clients again, and deletes clients that have been inactive for long.
  local function recompute_sums(shares, list, now)
    local all, text, longest = all_demand(shares), { decimal(now) }, 0
    for i = 1, #list do
      local w = list[i]
      if is_shared(w) then
        if w.used == 0 and w.units > 0 then
          rules_of(w).check(w, now, 0) -- this call may not have read it yet
        end
        local name, weights, clients, unmet, active = share_name(w, shares.queue, shares.model), 0, 0, 0, {}
        for _, of_client in pairs(all) do
          local demand = current_demand(of_client, name, w, now)
          if demand.requested + demand.requested_before > 0 then
            weights, clients = weights + of_client.weight, clients + 1
            active[clients] = { of_client, demand }
          end
        end
        for j = 1, clients do
          local of_client, demand = active[j][1], active[j][2]
          unmet = unmet + claim(of_client, demand, w, now, w.max * of_client.weight / weights)
        end
        text[#text + 1] = format('%s:%d %d %d %d', name, weights, clients, unmet + 0.5, max(0, w.used))
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
    shares.common.sums_text, shares.common.sums, shares.common.claims = table.concat(text, '|'), nil, {}
    redis.call('HSET', shares.key, '=', shares.common.sums_text)
    redis.call('PEXPIRE', shares.key, decimal(3 * longest))
  end

  --- Units of a window that are reserved for other clients below their share, where not all of them would fit: see
  --- fair_reserve (lib/fair_reserve).
  local function reserved_for_others(shares, sum, w, now, request, ahead, queued)
    local name = share_name(w, shares.queue, shares.model)
    local own = own_demand(shares)
    local demand, weights, clients = current_demand(own, name, w, now), sum.weights, sum.clients
    if demand.requested + demand.requested_before == 0 then
      weights, clients = weights + request.weight, clients + 1
    end
    if clients <= 1 then
      return 0
    end
    local share = w.max * request.weight / weights
    if not request.is_flexible and (demand.live == 0 or demand.live + w.units <= share) then
      return 0
    end
    local reserved = 0
    if clients > MAX_COMPARED then
      reserved = sum.unmet - ahead -- as if all that is queued before the request were of clients with claims
    else
      local claims, by_client, field = claims_of(shares, name, w, now, weights), nil, nil
      if queued then
        by_client, field = queued(w.limit)
      end
      for i = 1, #claims.clients do
        local other = claims.clients[i]
        local unmet = claims.units[other]
        if unmet > 0 and other ~= request.client then
          local theirs = by_client and by_client[other]
          reserved = reserved + max(0, unmet - (theirs and theirs[field] or 0))
        end
      end
    end
    return max(0, min(floor(reserved + 1e-6), w.max - w.units - ahead))
  end

  --- Whether a client has no claim to any more of a window: what it was granted is its share, or nearly.
  local function is_above(shares, sum, w, now, client)
    local of_client = all_demand(shares)[client]
    if not of_client then
      return false
    end
    local demand = current_demand(of_client, share_name(w, shares.queue, shares.model), w, now)
    return demand.live > 0 and demand.live + w.units > w.max * of_client.weight / max(1, sum.weights)
  end

  return {
    recompute_sums = recompute_sums, reserved_for_others = reserved_for_others, is_above = is_above, update_claim = update_claim,
  }
end
