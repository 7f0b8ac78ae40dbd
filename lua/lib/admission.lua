--[[ lib/admission: the decision about one request. All windows and slots of its first candidate that has room, and of its client,
  are charged, or none. All reads come before the first charge, so a refusal leaves none.

  KEYS  1 meta  2 health
  ARGV  1 epoch the caller knows  2 highest sequence number it has seen  3 arrival slack  4 TTL of a lease  5 deadline of a
          probe (the last three in ms)

  request = { id, lease, record, client, version, weight, class, is_flexible, wait_ms, alive_ms, ticket, place, client_spec,
  first_client_key, candidates, count, first_candidate_key }: keys of its lease and of the client's record; the spec of the
  client's windows and the index of their first key; its packed candidates: candidates(number), how many, and the index of
  their first key (nil: behind the client's windows).
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/client_windows"
--- @include "lib/lease"
--- @include "lib/candidate"
--- @include "lib/cooldown"
--- @include "lib/learned_limits"
--- @include "lib/breaker"
--- @include "lib/fair_reserve"
--- @include "lib/queue_keys"
--- @include "lib/enqueue"
--- @include "lib/notify"
local META, HEALTH = KEYS[1], KEYS[2]
local LEASE_TTL, PROBE_MS = ARGV[4], ARGV[5]
local NEVER = 2 ^ 53
local STAY_MS = 1000 -- a ticket that has moved to another queue moves no more for this time
local TURN_MS = 20 -- after this time a request asks again whose turn has not come, although there is room
local now, sequence, first_sequence -- of this call, set by open_pool
local keys, queue -- of the wait queue, set by open_queue; queue: nil while no request waits
local changed = {} -- candidates by their queue, whose next ticket is to be notified

--- Checks the epoch, and reads the clock. Returns the reply where nothing is admitted.
local function open_pool()
  arrival_slack = ARGV[3] + 0
  local meta = redis.call('HMGET', META, 'epoch', 'seq', 't', 'hold', 'off', 'gap')
  local hold_until = (meta[4] or 0) + 0
  sequence = (meta[2] or 0) + 0
  first_sequence = sequence
  if meta[1] ~= ARGV[1] or sequence < ARGV[2] + 0 then
    return { -1 }
  end
  local is_unsure
  now, is_unsure = clock(meta[3], meta[5], meta[6])
  if is_unsure then
    return { -1 }
  end
  if now < hold_until then
    return { -2, hold_until - now }
  end
end

--- Opens the wait queue whose keys begin at KEYS[first]. Returns whether any request waits.
local function open_queue(first)
  keys = queue_keys(first)
  if redis.call('ZCARD', keys.queue) > 0 then
    queue = ticket_queue(keys)
    queue.drop_expired_tickets(keys, now)
  end
  return queue ~= nil
end

--- A request from its description: "client version weight class wait again alive". Returns it and `again`.
local function parse_request(lease, spec)
  local client, version, weight, class, wait_ms, again, alive_ms =
    string.match(spec, '^(%S+) (%d+) (%d+) (%d) (%-?%d+) (%d) (%d+)')
  return {
    id = lease_id(lease), lease = lease, record = nil, client = client, version = version, weight = weight + 0, class = class,
    is_flexible = class == '1', wait_ms = wait_ms + 0, alive_ms = alive_ms + 0, ticket = nil, place = nil, client_spec = '',
    first_client_key = nil, candidates = nil, count = 0, first_candidate_key = nil,
  }, again == '1'
end

--- The candidates of requests, parsed once: packed(number) is one as text, first_key() the index of the key of the first one.
local function candidate_list(packed, first_key)
  local candidates = {}
  --- The candidate with this number; the one before it must have been read.
  return function(number)
    local c = candidates[number]
    if not c then
      c = parse_candidate(packed(number))
      c.number = number
      local before = candidates[number - 1]
      if before then
        local windows = before.list and #before.list or select(2, string.gsub(before.spec, ' %a ', '')) -- each has a kind
        c.shares_key = before.shares_key + 1 + windows
      else
        c.shares_key = first_key()
      end
      candidates[number] = c
    end
    return c
  end
end

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

--- The reply to a repeated request, whose first reply was lost: the same lease again, or that it must never be made.
local function replay(existing)
  if existing == 'x' then
    return { -4 }
  end
  local number = unpack_lease(existing)[1]
  return { 1, number, now, sequence, existing }
end

--- Charges a candidate and the client, and writes the lease. The lease comes first, and only where its name is free:
--- a repeated call finds it and charges nothing.
local function commit(request, quota, c, reasons)
  local generations, probes = { 0, 0 }, { 0, 0 }
  for i = 1, c.breakers and 2 or 0 do
    generations[i], probes[i] = c.breakers[i].generation, c.probes[i] or 0
  end
  local lease = { c.number, generations[1], generations[2], probes[1], probes[2] }
  append_charges(lease, quota.windows)
  append_charges(lease, c.list)
  local packed = pack_lease(lease, #lease)
  local existing = redis.call('SET', request.lease, packed, 'PX', LEASE_TTL, 'NX', 'GET')
  if existing then
    return replay(existing)
  end
  local deadline = now + LEASE_TTL
  for _, list in ipairs({ quota.windows, c.list }) do
    for i = 1, #list do
      local w = list[i]
      if w.units > 0 then
        rules_of(w).charge(w, now, request.id, deadline)
      end
    end
  end
  write_client_heads(quota.heads)
  for i = 1, c.breakers and 2 or 0 do
    if c.probes[i] then
      write_breaker(HEALTH, c.fields[i], c.breakers[i], now)
    end
  end
  sequence = sequence + 1
  if not request.is_flexible then -- nothing is reserved for flexible work
    record_demand(c.shares, c.list, now, request.client, request.weight, request.ticket and 0 or 1, 1)
  end
  if queue and queue.dequeue(request, c, now) then
    changed[c.queue] = c
  end
  if request.ticket then
    return { 1, c.number, now, sequence, packed } -- not evaluated in order: reasons can be missing in between
  end
  return { 1, c.number, now, sequence, packed, unpack(reasons) }
end

--- Notes that a ticket has left a queue for another: the next one there is notified where that makes it earlier.
local function note_departure(request, name)
  for number = 1, request.count do
    local c = request.candidates(number)
    if c.queue == name then
      changed[name] = c
      return
    end
  end
  queue.notify_head(keys, name, now)
end

--- Puts a request into the queue of its best candidate, or changes its plan there. What is queued before it is an estimate:
--- without a pause, two tickets that take each other's place would notify each other without end.
local function enqueue(request, quota, verdict, only_quota_prevents)
  queue = queue or ticket_queue(keys)
  local c = verdict.best
  local at = { queue = c.queue, tag = c.tag or 0, model = c.model, requests = quota.windows[1] and 1 or 0, tokens = 0 }
  at.units, at.fraction = queue.units_of(c.list)
  if only_quota_prevents then
    at.queue, at.tag, at.units, at.fraction = 'c:' .. request.client, 0, '', 0 -- it delays no other client
  end
  local left = request.ticket and request.ticket.queue ~= at.queue and request.ticket.queue
  if left and now < request.ticket.moved + STAY_MS then
    return queue.plan_again(request, min(verdict.earliest, request.ticket.moved + STAY_MS), now)
  end
  for _, w in ipairs(quota.windows) do
    if string.sub(w.limit, 1, 2) == 'tp' then
      at.tokens = max(at.tokens, w.units)
    end
  end
  local names = {}
  for number = 1, request.count do
    names[number] = request.candidates(number).queue
  end
  local reply = queue.enqueue(request, at, names, verdict.earliest, now)
  if left then
    note_departure(request, left)
  end
  reply[4] = verdict.exact and 1 or 0
  return reply
end

local function refuse(request, quota, verdict)
  if request.ticket then
    queue.leave_for_good(request, now)
  end
  local by, reasons, used, limiting = 2, verdict.reasons, {}, quota.limiting
  if limiting then
    by, reasons = 1, { limiting.limit, limiting.max, quota.earliest }
  end
  for i, w in ipairs(quota.windows) do
    used[i] = decimal(ceil(w.used))
  end
  return { 0, now, verdict.earliest, verdict.exact and 1 or 0, by, table.concat(used, ' '), unpack(reasons) }
end

--- Whether all that is queued behind a ticket waits as well: not a single unit is left of a window.
local function is_line_full(request)
  for number = 1, request.count do
    local c = request.candidates(number)
    if c.queue ~= request.ticket.queue or not c.is_full then
      return false
    end
  end
  return true
end

--- Admits, queues or refuses one request. Returns the reply, as admission/admit describes it; and where it waits because its
--- candidates are full, "client" (later tickets of its client wait, too) or "line" (all of its queue do).
local function admit_request(request)
  if not is_client_valid(request) then
    return { -5 }
  end
  local quota = check_quota(request)
  request.first_candidate_key = request.first_candidate_key or quota.next_key
  local verdict = evaluate(request, quota)
  if verdict.is_stale then
    return { -3, redis_ms }
  end
  if verdict.chosen then
    return commit(request, quota, verdict.chosen, verdict.reasons)
  end
  local existing = redis.call('GET', request.lease)
  if existing then
    return replay(existing)
  end
  local c = verdict.best
  local only_quota_prevents = quota.limiting and c and quota.earliest > c.earliest
  local counts = not request.is_flexible and request.wait_ms >= 0 and not request.ticket
  if counts and c and c.shares and not only_quota_prevents then
    record_demand(c.shares, c.list, now, request.client, request.weight, 1, 0)
  end
  -- A slot or a probe may become free long before its deadline, so a request that waits at all waits for it. A request with a
  -- ticket waits on, since others return units, unless every candidate is down for longer than it waits.
  local is_soon = verdict.earliest - now <= request.wait_ms or verdict.is_estimate
    or (request.ticket or request.place) and not verdict.all_down
  if c and verdict.earliest < NEVER and request.wait_ms > 0 and is_soon then
    local waits = request.ticket and not quota.limiting and not verdict.all_down and 'client'
    if waits and is_line_full(request) then
      waits = 'line'
    end
    return enqueue(request, quota, verdict, only_quota_prevents), waits
  end
  return refuse(request, quota, verdict)
end

--- Writes what the requests of this call have changed together, and notifies the next ticket of each queue from which one was
--- admitted.
local function finish()
  if sequence > first_sequence then
    redis.call('HSET', META, 'seq', decimal(sequence), 't', decimal(now))
  end
  write_changed_demand()
  if queue then
    queue.write_dequeued()
  end
  for name, c in pairs(changed) do
    runnable_notifier(queue)(keys, name, c.list, c.model, now)
  end
end
