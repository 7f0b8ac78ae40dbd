--[[ lib/admission: the decision about one request. All windows and slots of its first candidate that has room, and of its client,
  are charged, or none. All reads come before the first charge (lib/evaluation), so a refusal leaves none.
]]
--- @include "lib/notify"
--- @include "lib/evaluation"
--- @include "lib/admission_call"
local STAY_MS = 1000 -- a ticket that has moved to another queue moves no more for this time
local changed = {} -- candidates by their queue, whose next ticket is to be notified

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
