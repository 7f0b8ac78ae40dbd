--[[ admission/admit: may this request go now, and where? All of one candidate's windows and slots are charged, or none.

  KEYS  1 meta  2 health  3 lease  4-8 the waiting room (lib/queue_keys)  9 the client's record
        10… the client's windows, their heads first (lib/client_windows), then for every candidate, in order: the shares of its
        line (lib/fair_shares), its windows
  ARGV  1 epoch the caller knows  2 highest sequence it has seen  3 slack  4 lease TTL  5 probe deadline (all ms)
        6 client "id version weight class wait again alive": version of its record as the caller knows it, 0 = there is
          none; class 0, or 1 for work that takes what others leave; wait ms, 0 = it does not wait, -1 = nor does the
          asking count; again 1 = it asks again with its ticket; alive = ms until its replica is taken for dead
        7 packed client windows ("" for none)
        8… one candidate each: "p \t b \t k \t m \t a \t model \t scope \t windows": the fields of `health` to look at
        (lib/breaker, lib/cooldown); scope: its line is its account's (a) or its account and model's (m); the packed windows
        (lib/window): those with 0 units are passed over
  Reply {1, candidate, now, sequence, lease, line…}  go; lease: lib/lease; lines of those before it
        {0, now, e, exact, by, used, line…}  refused until e; by = 1 the client's quota, 2 the budget; used: units in each
                                       of the client's windows, in words; each line: why, max, e
        {2, now, e, exact}             a place in line: ask again at e, or at a knock
        {-1}                           another epoch, or the state lost something: `sync` first
        {-2, ms}                       nobody is admitted for so long: the pool is being repeated
        {-3, now}                      calendar boundaries out of range: send later ones
        {-4}                           this lease was cancelled before it was asked for
        {-5}                           the client's record is gone, closed, or another version by now
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/lease"
--- @include "lib/client_windows"
--- @include "lib/fast_charge"
--- @include "lib/cooldown"
--- @include "lib/breaker"
--- @include "lib/queue_keys"
--- @include "lib/fair_shares"
--- @include "lib/fair_reserve"
--- @include "lib/wait_queue"
--- @include "lib/notify"
--- @include "lib/enqueue"
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 't', 'hold')
local seq = (meta[2] or 0) + 0
if meta[1] ~= ARGV[1] or seq < ARGV[2] + 0 then
  return { -1 }
end
local now = clock(meta[3])
if meta[4] and now < meta[4] + 0 then
  return { -2, meta[4] - now }
end
slack = ARGV[3] + 0
local NEVER = 2 ^ 53
local me, version, weight, class, wait, again, alive =
  string.match(ARGV[6], '^(%S+) (%d+) (%d+) (%d) (%-?%d+) (%d) (%d+)$')
weight, wait = weight + 0, wait + 0
if version ~= '0' then
  local record = redis.call('HMGET', KEYS[9], 'v', 'off', 'exp')
  local expires = (record[3] or 0) + 0
  if record[1] ~= version or record[2] == '1' or expires > 0 and expires <= now then
    return { -5 }
  end
end

local room, id = waiting_room(4), id_of(KEYS[3])
local who = { id = id, client = me, weight = weight, class = class, alive = alive + 0 }
local crowded = redis.call('ZCARD', room.queue) > 0
local hall -- what to do with those who wait
if crowded then
  hall = placing()
  hall.bury(room, now)
  who.ticket = again == '1' and hall.ticket_of(room, id) or nil
end
local ticket = who.ticket

--- What a lost reply had said: the same lease again; or that it shall never be made.
local function told_before(held)
  if held == 'x' then
    return { -4 }
  end
  return { 1, read_lease(held)[1], now, seq, held }
end

--- Looks at every window of a list; `ahead` units of it are others', and what `keep` tells of a window that would fit.
--- Returns the instant at which all fit (now: at once), and the one that decides.
local function look_at(list, ahead, keep)
  local opens, decides, exact = now, nil, true
  local kind, look
  for i = 1, #list do
    local w = list[i]
    if w and w.units > 0 then
      local e
      local extra = ahead and ahead[w.limit] or 0
      if w.units > w.max then
        e = NEVER
      else
        if ahead and ahead.planned then
          w.ahead = ahead.planned -- not else: even nil would need a place in the table
        end
        if w.kind ~= kind then
          kind, look = w.kind, rules_of(w).look
        end
        e = look(w, now, extra)
        if not e and keep and not w.stale and is_shared(w) then
          local kept = keep(w, extra)
          if kept > 0 then
            e = look(w, now, extra + kept)
          end
        end
      end
      if w.stale then
        return now, w, true
      end
      if e and (e > opens or not decides) then
        opens, decides, exact = max(e, now + 1), w, not is_guess(w)
      end
    end
  end
  return opens, decides, exact
end

-- The lease to be, with a place for every number of eight windows: a table that has to grow is made anew, and again.
local lease = {
  0, 0, 0, 0, 0, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
  nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
}
-- The client's own windows come first: they bind every candidate. What its tickets hold is not a newcomer's.
local plans = ARGV[7] ~= '' and not crowded and planned(lease, now)
local client, clients, after, heads = windows_of_client(ARGV[7], 10, false, plans and plans.plan)
local held_quota
if crowded and not ticket and clients > 0 then
  local r, t = string.match(redis.call('HGET', room.fair, 'H\t' .. me) or '0 0', '^(%d+) (%d+)$')
  held_quota = { rpm = r + 0, rpd = r + 0, tpm = t + 0, tpd = t + 0, concurrency = r + 0 }
end
local client_opens, client_decides, client_exact = look_at(client, held_quota)
write_heads(heads)

local chosen, best
local best_opens, best_exact, best_guess = NEVER, true, false
local lines, n = {}, 0

--- A candidate with what stands in its way: nothing where `why` is nil, else the limit, the most, the instant.
local function consider(at, next_key)
  local p, b, k, m, a, model, line, spec = read_candidate(ARGV[at])
  local health = redis.call('HMGET', KEYS[2], p, b, k, m, a)
  local c = {
    at = at - 7, opens = now, why = nil, most = 0, exact = true, guess = nil, fields = { p, b }, breakers = {}, probes = {},
    line = line, model = model, shares = KEYS[next_key], list = nil, book = nil,
  }
  local known
  for i = 3, 5 do
    if health[i] then
      local till, cause, limits = read_shut(health[i])
      known = learn(known, limits)
      if till > c.opens then
        c.opens, c.why = till, 'shut: ' .. cause
      end
    end
  end
  local list, count = windows(spec, next_key + 1, known)
  c.list = list
  next_key = next_key + 1 + count
  for i = 1, 2 do
    if health[i] then
      local state = read_breaker(health[i])
      c.breakers[i] = state
      if state.off == 1 then
        c.why, c.opens = 'off', NEVER
        return c, next_key
      end
      if state.till > now then
        if state.till > c.opens then
          c.opens, c.why, c.exact = state.till, 'breaker', true
        end
      elseif state.till > 0 then
        if state.probe > now then
          if state.probe > c.opens then
            c.opens, c.why, c.exact, c.guess = state.probe, 'probe', false, true
          end
        else
          c.probes[i] = true
        end
      end
    end
  end
  local ahead, whose
  if crowded then
    c.place, c.tag = hall.place_in(room, who, c.line)
    local members = hall.standing(room, c.line, c.place)
    c.behind = #members > 0
    if c.behind then
      ahead, whose = {}, {}
      hall.add_up(members, c.model, ahead, whose)
      ahead.planned = function(limit) return hall.planned_of(room, members, c.model, limit) end
    end
  end
  c.book = open_book(c.shares, c.line, c.model, me)
  local e, w, sure = look_at(list, ahead, function(w, extra)
    return held_back(c.book, list, w, now, me, weight, class == '1', extra, whose)
  end)
  if w and w.stale then
    c.stale = true
  elseif w and (e > c.opens or not c.why) then
    c.opens, c.why, c.most, c.exact, c.guess = e, w.limit, w.max, sure, w.kind == 'n'
  end
  return c, next_key
end

--- The line of a candidate, and how many windows it has.
local function line_at(i)
  local _, _, _, _, _, _, line, spec = read_candidate(ARGV[i])
  local _, count = string.gsub(spec, '%S+ %S+ %S+ %S+ %S+ ', '')
  return line, count
end

-- A ticket looks at its own line first, and then at the others in order.
local order, starts = {}, { after, nil, nil, nil }
if ticket then
  local others = {}
  for i = 8, #ARGV do
    local line, count = line_at(i)
    starts[i - 6] = starts[i - 7] + 1 + count
    local list = line == ticket.line and order or others
    list[#list + 1] = i
  end
  for i = 1, #others do
    order[#order + 1] = others[i]
  end
end
for turn = 8, #ARGV do
  local at = order[turn - 7] or turn
  local c, next_key = consider(at, starts[at - 7])
  starts[at - 6] = next_key
  if c.stale then
    return { -3, now }
  end
  if not c.why and not client_decides then
    chosen = c
    break
  end
  local why, most, opens, exact = c.why, c.most, c.opens, c.exact
  if not why then
    why, most, opens, exact = client_decides.limit, client_decides.max, client_opens, client_exact
  end
  local line = 3 * (at - 8)
  lines[line + 1], lines[line + 2], lines[line + 3] = why, most, opens
  n = n + 1
  local e = max(opens, client_opens)
  if e < best_opens or not best then
    best, best_opens, best_exact, best_guess = c, e, exact, c.guess
    if client_opens > opens then
      best_exact, best_guess = client_exact, client_decides.kind == 'n'
    end
  end
end

--- Takes a place in the line of the best candidate, or stays in the one it has where that is as good.
local function wait_in_line(e)
  hall = hall or placing()
  local at = { line = best.line, tag = best.tag or 0, model = best.model, requests = 1, tokens = 0 }
  at.part, at.units = hall.units_of(best.list)
  if client_decides and client_opens > best.opens then
    at.line, at.tag, at.part, at.units = 'c:' .. me, 0, 0, '' -- only its own quota is in its way: it takes nobody's place
  end
  for units in string.gmatch(ARGV[7], 'tp%a %a %d+ %d+ (%d+) ') do
    at.tokens = max(at.tokens, units + 0)
  end
  local lines_here = {}
  for i = 8, #ARGV do
    lines_here[i - 7] = line_at(i)
  end
  hall.stand_in_line(room, who, at, lines_here, e, now)
end

if not chosen then
  local held = redis.call('GET', KEYS[3])
  if held then
    return told_before(held)
  end
  local own_quota = client_decides and best and client_opens > best.opens
  if best and best.book and class == '0' and wait >= 0 and not ticket and not own_quota then
    book_units(best.book, best.list, now, me, weight, 1, 0)
  end
  -- A slot or a probe may be free long before its deadline: whoever would wait at all, waits for that.
  if best and best_opens < NEVER and wait > 0 and (ticket or best_opens - now <= wait or best_guess) then
    wait_in_line(best_opens)
    return { 2, now, best_opens, best_exact and 1 or 0 }
  end
  if ticket then
    hall.knock_first(room, hall.leave(room, id), now)
  end
  local by = 2
  if client_decides then
    by, lines = 1, { client_decides.limit, client_decides.max, client_opens }
  end
  local used = {}
  for i = 1, clients do
    local from = HEADS + EACH * (i - 1)
    used[i] = text(client[i] and ceil(client[i].used) or lease[from + 5] - lease[from + 3])
  end
  return { 0, now, best_opens, best_exact and 1 or 0, by, table.concat(used, ' '), unpack(lines) }
end

-- All reads are done. The lease is written first, and only where its name is free: the second asking of a lost reply
-- finds it and charges nothing.
local gens = { 0, 0 }
for i = 1, 2 do
  if chosen.breakers[i] then
    gens[i] = chosen.breakers[i].gen + (chosen.probes[i] and 1 or 0)
  end
end
lease[1], lease[2], lease[3] = chosen.at, gens[1], gens[2]
lease[4], lease[5] = chosen.probes[1] and 1 or 0, chosen.probes[2] and 1 or 0
local count = HEADS
for i = 1, clients do
  count = client[i] and place(client[i], lease, count) or count + EACH
end
for i = 1, #chosen.list do
  count = place(chosen.list[i], lease, count)
end
local packed = lease_of(lease, count)
local held = redis.call('SET', KEYS[3], packed, 'PX', ARGV[4], 'NX', 'GET')
if held then
  return told_before(held)
end
local deadline = now + ARGV[4]
for i = 1, clients do
  if client[i] then
    rules_of(client[i]).charge(client[i], now, id, deadline)
  end
end
if plans then
  plans.charge_planned(heads)
end
write_heads(heads)
for i = 1, #chosen.list do
  local w = chosen.list[i]
  if w.units > 0 then
    rules_of(w).charge(w, now, id, deadline)
  end
end
for i = 1, 2 do
  if chosen.probes[i] then
    local state = chosen.breakers[i]
    state.gen, state.probe = gens[i], now + ARGV[5]
    write_breaker(KEYS[2], chosen.fields[i], state, now)
  end
end
redis.call('HSET', KEYS[1], 'seq', text(seq + 1), 't', text(now))
if class == '0' then
  book_units(chosen.book, chosen.list, now, me, weight, ticket and 0 or 1, 1) -- nothing is kept for flexible work
end
if crowded then
  hall.go_from_line(room, who, chosen, now)
end
if ticket then
  lines = {} -- not looked at in order: there can be holes
end
return { 1, chosen.at, now, seq + 1, packed, unpack(lines) }
