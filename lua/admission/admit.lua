--[[ admission/admit: admits one request to the first candidate that has room for it. All windows and slots of that candidate and
  of the client are charged, or none. All reads come before the first charge, so a refusal leaves none.

  KEYS  1 meta  2 health  3 lease  4-8 the wait queue (lib/queue_keys)  9 the client's record
        10… the client's windows, after their heads (lib/client_windows); then for each candidate, in order: the fair shares
        of its queue (lib/fair_shares), its windows
  ARGV  1 epoch the caller knows  2 highest sequence number it has seen  3 arrival slack  4 TTL of the lease  5 deadline of
          a probe (the last three in ms)
        6 the request: "client version weight class wait again alive": version of the client's record as the caller knows
          it, 0 = there is none; class 0, or 1 for flexible work, which takes what others leave; wait in ms, 0 = it does
          not wait, -1 = it does not even count as demand; again 1 = it has a ticket; alive = ms until its replica counts
          as dead
        7 packed client windows, "" for none
        8… the candidates (lib/candidate); windows of 0 units are passed over
  Reply {1, candidate, now, sequence, lease, reason…}  admitted; lease: lib/lease; reasons of the candidates before it
        {0, now, earliest, exact, by, used, reason…}  refused until `earliest`; by = 1 the client's quota, 2 the budget;
                                     used: units in each client window, as text; each reason: name, max, earliest
        {2, now, earliest, exact}    queued: ask again at `earliest`, or when notified
        {-1}                         another epoch, the state lost something, or TIME may have jumped: `sync` first
        {-2, ms}                     the leases of a lost state are being replayed; ask again after this time
        {-3, TIME}                   calendar boundaries are out of range: send later ones
        {-4}                         this lease was cancelled before this call
        {-5}                         the client's record is deleted, disabled, expired, or of another version
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
local META, HEALTH, LEASE, CLIENT_RECORD, FIRST_WINDOW = KEYS[1], KEYS[2], KEYS[3], KEYS[9], 10
local EPOCH, SEEN, LEASE_TTL, PROBE_MS = ARGV[1], ARGV[2] + 0, ARGV[4], ARGV[5]
local FIRST_CANDIDATE, COUNT = 8, #ARGV - 7 -- COUNT: of candidates
local NEVER = 2 ^ 53
arrival_slack = ARGV[3] + 0

-- 1 Check the epoch.
local meta = redis.call('HMGET', META, 'epoch', 'seq', 't', 'hold', 'off', 'gap')
local epoch, sequence, last, hold_until = meta[1], (meta[2] or 0) + 0, meta[3], (meta[4] or 0) + 0
if epoch ~= EPOCH or sequence < SEEN then
  return { -1 }
end
local now, is_unsure = clock(last, meta[5], meta[6])
if is_unsure then
  return { -1 }
end
if now < hold_until then
  return { -2, hold_until - now }
end

-- 2 Check the client.
local client, version, weight, class, wait_ms, again, alive_ms =
  string.match(ARGV[6], '^(%S+) (%d+) (%d+) (%d) (%-?%d+) (%d) (%d+)$')
if version ~= '0' then
  local record = redis.call('HMGET', CLIENT_RECORD, 'v', 'off', 'exp')
  local current, off, expires = record[1], record[2], (record[3] or 0) + 0
  if current ~= version or off == '1' or expires > 0 and expires <= redis_ms then
    return { -5 }
  end
end
local request = {
  id = lease_id(LEASE), client = client, weight = weight + 0, class = class, is_flexible = class == '1',
  wait_ms = wait_ms + 0, alive_ms = alive_ms + 0, ticket = nil,
}

-- 3 Find the request's place in the queue, where any request waits.
local keys, queue = queue_keys(4), nil
if redis.call('ZCARD', keys.queue) > 0 then
  queue = ticket_queue()
  queue.drop_expired_tickets(keys, now)
  if again == '1' then
    request.ticket = queue.ticket_of(keys, request.id)
  end
end

-- 4 Check the client's own windows, which bind every candidate, and then the candidates, until one has room.

--- The earliest instant at which every window of a list fits, the window that decides it (nil: all fit now), and whether the
--- instant is exact. ahead: units[limit] that are queued before the request, departures(limit) when they plan to be
--- admitted. reserve(w, ahead): units reserved for other clients.
local function earliest_fit(list, ahead, reserve)
  local earliest, limiting, exact = now, nil, true
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 then
      local fits_at -- nil: now
      if w.units > w.max then
        fits_at = NEVER
      else
        local check, units_ahead = rules_of(w).check, 0
        if ahead then
          units_ahead, w.queued_before = ahead.units[w.limit] or 0, ahead.departures
        end
        fits_at = check(w, now, units_ahead)
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
  return earliest, limiting, exact
end

--- Checks the client's own windows. A request without a ticket gets no units for which the client's tickets queue.
local function check_quota()
  local windows, count, next_key, heads = parse_client_windows(ARGV[7], FIRST_WINDOW)
  local ahead
  if queue and not request.ticket and count > 0 then
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

local quota = check_quota()
local candidates = {} -- by number, each parsed once

--- The candidate with this number; the one before it must have been read.
local function candidate(number)
  local c = candidates[number]
  if not c then
    c = parse_candidate(ARGV[FIRST_CANDIDATE + number - 1])
    c.number, c.shares_key = number, quota.next_key
    local before = candidates[number - 1]
    if before then
      local windows = before.list and #before.list or select(2, string.gsub(before.spec, ' %a ', '')) -- each has a kind
      c.shares_key = before.shares_key + 1 + windows
    end
    candidates[number] = c
  end
  return c
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

--- Finds what prevents a candidate: c.reason (nil: nothing), c.limit_max, c.earliest, c.exact, c.is_estimate.
local function evaluate_candidate(c)
  local health = redis.call('HMGET', HEALTH, unpack(c.fields))
  c.earliest, c.reason, c.limit_max, c.exact = now, nil, 0, true
  local learned
  if health[1] or health[2] or health[3] or health[4] or health[5] then
    learned = check_health(c, health)
  end
  c.list = parse_windows(c.spec, c.shares_key + 1, learned)
  if c.reason == 'off' then
    return
  end
  local ahead = queue and queue.queued_before(keys, request, c)
  c.shares = open_shares(KEYS[c.shares_key], c.queue, c.model, request.client)
  local earliest, limiting, exact = earliest_fit(c.list, ahead, function(w, units_ahead)
    return fair_reserve(c.shares, c.list, w, now, request, units_ahead, ahead and ahead.by_client)
  end)
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
local function evaluate()
  local verdict = { best = nil, earliest = NEVER, exact = true, is_estimate = nil, reasons = {}, all_down = true }
  local order = request.ticket and queue.evaluation_order(request.ticket, candidate, COUNT)
  for i = 1, COUNT do
    local number = order and order[i] or i
    local c = candidate(number)
    evaluate_candidate(c)
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

local verdict = evaluate()
if verdict.is_stale then
  return { -3, redis_ms }
end

-- 5 Admit the request, where a candidate has room.

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
local function commit(c)
  local generations, probes = { 0, 0 }, { 0, 0 }
  for i = 1, c.breakers and 2 or 0 do
    generations[i], probes[i] = c.breakers[i].generation, c.probes[i] or 0
  end
  local lease = { c.number, generations[1], generations[2], probes[1], probes[2] }
  append_charges(lease, quota.windows)
  append_charges(lease, c.list)
  local packed = pack_lease(lease, #lease)
  local existing = redis.call('SET', LEASE, packed, 'PX', LEASE_TTL, 'NX', 'GET')
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
  redis.call('HSET', META, 'seq', decimal(sequence + 1), 't', decimal(now))
  if not request.is_flexible then -- nothing is reserved for flexible work
    record_demand(c.shares, c.list, now, request.client, request.weight, request.ticket and 0 or 1, 1)
  end
  if queue then
    queue.dequeue(keys, request, c, now)
  end
  if request.ticket then
    return { 1, c.number, now, sequence + 1, packed } -- not evaluated in order: reasons can be missing in between
  end
  return { 1, c.number, now, sequence + 1, packed, unpack(verdict.reasons) }
end

if verdict.chosen then
  return commit(verdict.chosen)
end

-- 6 Otherwise queue the request for the best candidate, where it waits long enough, or refuse it.
local existing = redis.call('GET', LEASE)
if existing then
  return replay(existing)
end
local c, limiting = verdict.best, quota.limiting
local only_quota_prevents = limiting and c and quota.earliest > c.earliest

local function enqueue()
  queue = queue or ticket_queue()
  local at = { queue = c.queue, tag = c.tag or 0, model = c.model, requests = 1, tokens = 0 }
  at.units, at.fraction = queue.units_of(c.list)
  if only_quota_prevents then
    at.queue, at.tag, at.units, at.fraction = 'c:' .. request.client, 0, '', 0 -- it delays no other client
  end
  for _, w in ipairs(quota.windows) do
    if string.sub(w.limit, 1, 2) == 'tp' then
      at.tokens = max(at.tokens, w.units)
    end
  end
  local names = {}
  for number = 1, COUNT do
    names[number] = candidate(number).queue
  end
  queue.enqueue(keys, request, at, names, verdict.earliest, now)
  return { 2, now, verdict.earliest, verdict.exact and 1 or 0 }
end

local function refuse()
  if request.ticket then
    queue.leave_and_notify(keys, request.id, now)
  end
  local by, reasons, used = 2, verdict.reasons, {}
  if limiting then
    by, reasons = 1, { limiting.limit, limiting.max, quota.earliest }
  end
  for i, w in ipairs(quota.windows) do
    used[i] = decimal(ceil(w.used))
  end
  return { 0, now, verdict.earliest, verdict.exact and 1 or 0, by, table.concat(used, ' '), unpack(reasons) }
end

local counts = not request.is_flexible and request.wait_ms >= 0 and not request.ticket
if counts and c and c.shares and not only_quota_prevents then
  record_demand(c.shares, c.list, now, request.client, request.weight, 1, 0)
end
-- A slot or a probe may become free long before its deadline, so a request that waits at all waits for it. A request with a
-- ticket waits on, since others return units, unless every candidate is down for longer than it waits.
local is_soon = verdict.earliest - now <= request.wait_ms or verdict.is_estimate or request.ticket and not verdict.all_down
if c and verdict.earliest < NEVER and request.wait_ms > 0 and is_soon then
  return enqueue()
end
return refuse()
