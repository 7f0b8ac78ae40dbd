--[[ lib/evaluation: whether one request could be admitted now: by its client, by its client's quota, and by each of its candidates
  in turn; and if not, when. Nothing is charged here.

  request as in lib/admission_call. quota = { windows, next_key, heads, earliest, limiting, exact }: the client's windows, and
  which of them prevents the request until when.
]]
--- @include "lib/window_kinds"
--- @include "lib/client_windows"
--- @include "lib/cooldown"
--- @include "lib/learned_limits"
--- @include "lib/breaker"
--- @include "lib/fair_reserve"
--- @include "lib/admission_call"
local NEVER = 2 ^ 53
local TURN_MS = 20 -- after this time a request asks again whose turn has not come, although there is room

--- Whether the client's record still allows the request.
local function is_client_valid(request)
  if request.version == '0' then
    return true
  end
  local record = redis.call('HMGET', request.record, 'v', 'off', 'exp')
  local expires = (record[3] or 0) + 0
  return record[1] == request.version and record[2] ~= '1' and not (expires > 0 and expires <= redis_ms)
end

--- Whether a window for which the request fits has room for these units as well.
local function has_room(w, units)
  return units == 0 or w.kind ~= 'c' and w.used + w.units + units <= w.max
end

--- The earliest instant at which every window of a list fits, the window that decides it (nil: all fit now), and whether the
--- instant is exact; and whether one has no room for a single unit. ahead: what is queued before the request
--- (lib/enqueue). reserve(w, ahead): units reserved for other clients. fits_alone: each window was checked just now, and fits
--- but for what is ahead.
local function earliest_fit(list, ahead, reserve, fits_alone)
  local earliest, limiting, exact, is_full = now, nil, true, false
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 then
      local fits_at -- nil: now
      if w.units > w.max then
        fits_at = NEVER
      else
        local check, units_ahead = rules_of(w).check, ahead and ahead.units[w.limit] or 0
        if not (fits_alone and has_room(w, units_ahead)) then
          fits_at = check(w, now, units_ahead)
        end
        is_full = is_full or fits_at ~= nil and w.used + 1 > w.max
        if not fits_at and reserve and not w.stale and is_shared(w) then
          local reserved = reserve(w, units_ahead)
          if reserved > 0 then
            fits_at = check(w, now, units_ahead + reserved)
          end
        end
      end
      if w.stale then
        return now, w, true
      end
      if fits_at and (fits_at > earliest or not limiting) then
        earliest, limiting, exact = max(fits_at, now + 1), w, not is_estimate(w)
      end
    end
  end
  return earliest, limiting, exact, is_full
end

--- Checks the client's own windows. A request without a ticket gets no units for which the client's tickets queue.
local function check_quota(request)
  local windows, count, next_key, heads = parse_client_windows(request.client_spec, request.first_client_key)
  local ahead
  if queue and not request.ticket and not request.place and count > 0 then
    local requests, tokens = queue.queued_quota(keys, request.client)
    ahead = { units = {} }
    for i = 1, count do
      local limit = windows[i].limit
      ahead.units[limit] = string.sub(limit, 1, 1) == 't' and tokens or requests
    end
  end
  local earliest, limiting, exact = earliest_fit(windows, ahead)
  write_client_heads(heads)
  return {
    windows = windows, next_key = next_key, heads = heads, earliest = earliest, limiting = limiting, exact = exact,
  }
end

--- Checks the breakers of a candidate's provider and model, and the cooldowns of its key, model and account. The latest
--- instant that one of them names becomes c.earliest, with c.reason. Returns the limits learned of the candidate.
local function check_health(c, health)
  local learned
  local function prevent(reason, earliest, exact, estimated)
    if earliest > c.earliest then
      c.reason, c.earliest, c.exact, c.is_estimate = reason, earliest, exact, estimated
    end
  end
  for i = 3, 5 do
    local cooldown_until, cause, limits = parse_cooldown(health[i])
    learned = add_learned(learned, limits)
    prevent('cooldown: ' .. cause, cooldown_until, true)
  end
  c.breakers, c.probes = {}, {}
  for i = 1, 2 do
    local b = parse_breaker(health[i])
    c.breakers[i] = b
    if b.off == 1 then
      prevent('off', NEVER, true)
    elseif b.open_until > now then
      prevent('breaker', b.open_until, true)
    elseif b.probe_until > now then
      prevent('probe', b.probe_until, false, true)
    elseif b.open_until > 0 then -- half-open: the request becomes the probe
      b.generation, b.probe_until, c.probes[i] = b.generation + 1, now + PROBE_MS, 1
    end
  end
  return learned
end

--- What is queued before a request at a candidate (lib/enqueue), read as far as its windows have room; and whether each of them
--- fits but for that; and the rank of the request.
local function queued_before(request, c)
  local rank, tag = queue.rank_in(request, c.queue)
  local room = {}
  c.tag = tag
  for i = 1, #c.list do
    local w = c.list[i]
    if w.units > 0 then
      if w.units > w.max or rules_of(w).check(w, now, 0) or w.stale then
        room = nil
        break
      end
      room[w.limit] = w.max - w.used - w.units
    end
  end
  return queue.queued_before(c, rank, room, request.ticket), room ~= nil, rank
end

--- Finds what prevents a candidate: c.reason (nil: nothing), c.limit_max, c.earliest, c.exact, c.is_estimate.
local function evaluate_candidate(request, c)
  c.earliest, c.reason, c.limit_max, c.exact, c.is_estimate = now, nil, 0, true, nil
  c.breakers, c.probes, c.is_behind, c.is_full = nil, nil, nil, false
  local learned
  if not c.is_healthy then
    local health = redis.call('HMGET', HEALTH, unpack(c.fields))
    if health[1] or health[2] or health[3] or health[4] or health[5] then
      learned = check_health(c, health)
    else
      c.is_healthy = true -- for all requests of this call
    end
  end
  c.list = c.list or parse_windows(c.spec, c.shares_key + 1, learned)
  if request.set_units then
    request.set_units(c)
  end
  if c.reason == 'off' then
    return
  end
  local ahead, fits_alone, rank
  if queue then
    ahead, fits_alone, rank = queued_before(request, c)
  end
  c.shares = open_shares(KEYS[c.shares_key], c.queue, c.model, request.client)
  -- A request whose turn has not come needs no reserve: what decides is queued before it.
  local reserve = not (ahead and not ahead.by_client) and function(w, units_ahead)
    return fair_reserve(c.shares, c.list, w, now, request, units_ahead, ahead and ahead.by_client)
  end
  local earliest, limiting, exact, is_full = earliest_fit(c.list, ahead, reserve, fits_alone)
  if limiting and ahead and fits_alone and is_below_share(c.shares, c.list, now, request) then
    local claims = queue.claims_before(c, rank, function(client)
      return client == request.client or not is_above_share(c.shares, c.list, now, client)
    end)
    if claims then
      ahead, earliest, limiting, exact, is_full = claims, earliest_fit(c.list, claims, nil, true)
    end
  end
  c.is_full = is_full
  if ahead and ahead.is_blocked and not limiting and c.list[1] then
    earliest, limiting, exact = now + TURN_MS, c.list[1], false
  end
  if limiting and limiting.stale then
    c.is_stale = true
  elseif limiting and earliest > c.earliest then
    c.reason, c.limit_max, c.earliest, c.exact = limiting.limit, limiting.max, earliest, exact
    c.is_estimate = limiting.kind == 'n'
  end
end

--- Whether only time ends what prevents a candidate: nothing that other requests do does.
local function is_down(reason)
  return reason == 'breaker' or reason == 'off'
    or string.sub(reason, 1, 10) == 'cooldown: ' and string.sub(reason, 11, 13) ~= '429'
end

--- Evaluates candidates until one has room. Returns { chosen }, or { best } of those that have none, and when and why; or
--- { is_stale }. all_down: no candidate is full, and none is being probed.
local function evaluate(request, quota)
  local verdict = { best = nil, earliest = NEVER, exact = true, is_estimate = nil, reasons = {}, all_down = true }
  local order = request.ticket and queue.evaluation_order(request.ticket, request.candidates, request.count)
  for i = 1, request.count do
    local number = order and order[i] or i
    local c = request.candidates(number)
    evaluate_candidate(request, c)
    if c.is_stale then
      return { is_stale = true }
    end
    if not c.reason and not quota.limiting then
      verdict.chosen = c
      return verdict
    end
    local reason, max_units, earliest, exact = c.reason, c.limit_max, c.earliest, c.exact
    if not reason then
      reason, max_units, earliest, exact = quota.limiting.limit, quota.limiting.max, quota.earliest, quota.exact
    end
    verdict.all_down = verdict.all_down and is_down(reason)
    local at = 3 * (number - 1)
    verdict.reasons[at + 1] = reason
    verdict.reasons[at + 2] = max_units
    verdict.reasons[at + 3] = earliest
    if max(earliest, quota.earliest) < verdict.earliest or not verdict.best then
      verdict.best, verdict.earliest, verdict.exact, verdict.is_estimate = c, earliest, exact, c.is_estimate
      if quota.earliest > earliest then
        verdict.earliest, verdict.exact = quota.earliest, quota.exact
        verdict.is_estimate = quota.limiting.kind == 'n'
      end
    end
  end
  return verdict
end
