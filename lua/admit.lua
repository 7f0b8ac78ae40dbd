--[[ admit: may this request go now, and where? All of one candidate's windows and slots are charged, or none.

  KEYS  1 meta  2 health  3 lease  4-8 the waiting room (lib/line)  9 the client's record
        10… the client's windows, then for every candidate, in order: the shares of its line (lib/shares), its windows
  ARGV  1 epoch the caller knows  2 highest sequence it has seen  3 slack  4 lease TTL  5 probe deadline (all ms)
        6 client "id version weight class wait again alive": version of its record as the caller knows it, 0 = there is
          none; class 0, or 1 for work that takes what others leave; wait ms, 0 = it does not wait, -1 = nor does the
          asking count; again 1 = it asks again with its ticket; alive = ms until its replica is taken for dead
        7 packed client windows ("" for none)
        8… one candidate each: "p \t b \t k \t m \t a \t windows": the fields of `health` to look at (lib/breaker) and
        the packed windows (lib/window); windows with 0 units are passed over
  Reply {1, candidate, now, sequence, lease, standing…, line…}  go; lease as packed; lines of those before it
        {0, now, e, exact, by, standing…, line…}  refused until e; by = 1 the client's quota, 2 the budget; each line:
                                       why, max, e; standing: max, used and name of the client's tightest window of
                                       requests, and the same of tokens (0, 0, "" for none)
        {2, now, e, exact}             a place in line: ask again at e, or at a knock
        {-1}                           another epoch, or the state lost something: `sync` first
        {-2, ms}                       nobody is admitted for so long: the pool is being repeated
        {-3, now}                      calendar boundaries out of range: send later ones
        {-4}                           this lease was cancelled before it was asked for
        {-5}                           the client's record is gone, closed, or another version by now
  Lease "candidate gen-p gen-b probe-p probe-b", then for each window "place units q used" of just after the charge
]]
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 't', 'hold')
local seq = (meta[2] or 0) + 0
if meta[1] ~= ARGV[1] or seq < ARGV[2] + 0 then
  return { -1 }
end
local now = clock(meta[3])
if meta[4] and now < meta[4] + 0 then
  return { -2, meta[4] - now }
end
local slack, NEVER = ARGV[3] + 0, 2 ^ 53
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

local room, ticket = waiting_room(4), nil
local id = string.match(KEYS[3], '[^:]*$')
local crowded = redis.call('ZCARD', room.queue) > 0
if crowded then
  bury(room, now)
  if again == '1' then
    local record = redis.call('HGET', room.tickets, id)
    if record then
      local member = string.match(record, '^[^\n]*\n([^\n]*)')
      local line, place, _, _, model, units = read_member(member)
      ticket = { line = line, place = place, model = model, units = units, number = string.sub(place, 20) }
    end
  end
end

--- What a lost reply had said: the same lease again; or that it shall never be made.
local function told_before(held)
  if held == 'x' then
    return { -4 }
  end
  return { 1, tonumber(string.match(held, '^%d+')), now, seq, held, 0, 0, '', 0, 0, '' }
end

--- Looks at every window of a list; `ahead` units of it are others', and what `keep` tells of a window that would fit.
--- Returns the instant at which all fit (now: at once), and the one that decides.
local function look_at(list, ahead, keep)
  local opens, decides, exact = now, nil, true
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 then
      local e
      local extra = ahead and ahead[w.limit] or 0
      if w.units > w.max then
        e = NEVER
      else
        w.ahead = ahead and ahead.planned
        e = look[w.kind](w, now, extra)
        if not e and keep and not w.stale and is_shared(w) then
          local kept = keep(w, extra)
          if kept > 0 then
            e = look[w.kind](w, now, extra + kept)
          end
        end
      end
      if w.stale then
        return now, w, true
      end
      if e and (e > opens or not decides) then
        opens, decides, exact = max(e, now + 1), w, not w.guess
      end
    end
  end
  return opens, decides, exact
end

-- The client's own windows come first: they bind every candidate. What its tickets hold is not a newcomer's.
local client, clients = windows(ARGV[7], 10, slack, nil, true)
local held_quota
if crowded and not ticket and clients > 0 then
  local r, t = string.match(redis.call('HGET', room.fair, 'H\t' .. me) or '0 0', '^(%d+) (%d+)$')
  held_quota = { rpm = r + 0, rpd = r + 0, tpm = t + 0, tpd = t + 0, concurrency = r + 0 }
end
local client_opens, client_decides, client_exact = look_at(client, held_quota)

--- The client's tightest window of requests, or of tokens, as it stands: max, used, name.
local function tightest(of_tokens)
  local tight
  for i = 1, clients do
    local w = client[i]
    if w.kind ~= 'n' and (string.sub(w.limit, 1, 1) == 't') == of_tokens and not (tight and tight.max - tight.used <= w.max - w.used) then
      tight = w
    end
  end
  if tight then
    return tight.max, ceil(tight.used), tight.limit
  end
  return 0, 0, ''
end

local chosen, best
local best_opens, best_exact, best_guess = NEVER, true, false
local lines, n = {}, 0

--- Where this request would stand in a line: class, tag and number, in bytes; and its tag.
local function place_in(line)
  if ticket and ticket.line == line then
    return ticket.place, string.sub(ticket.place, 2, 19) + 0
  end
  local fair = redis.call('HMGET', room.fair, 'V\t' .. line, 'F\t' .. line .. '\t' .. me)
  local tag = max((fair[1] or 0) + 0, (fair[2] or 0) + 0)
  return rank(class, tag) .. (ticket and ticket.number or '~'), tag
end

--- A candidate with what stands in its way: nothing where `why` is nil, else the limit, the most, the instant.
local function consider(at, next_key)
  local p, b, k, m, a, spec = string.match(ARGV[at], '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$')
  local health = redis.call('HMGET', KEYS[2], p, b, k, m, a)
  local c = { at = at - 7, opens = now, most = 0, exact = true, fields = { p, b }, breakers = {}, probes = {} }
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
  c.line, c.model, c.shares = line_of(m, a, spec), string.match(b, '^[^/]*/(.*)$'), KEYS[next_key]
  local list, count = windows(spec, next_key + 1, slack, known)
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
    c.place, c.tag = place_in(c.line)
    local members = standing(room, c.line, c.place)
    c.behind = #members > 0
    if c.behind then
      ahead, whose = {}, {}
      add_up(members, c.model, ahead, whose)
      ahead.planned = function(limit) return planned_of(room, members, c.model, limit) end
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

-- A ticket looks at its own line first, and then at the others in order.
local order, starts = {}, { 10 + clients }
if ticket then
  local others = {}
  for i = 8, #ARGV do
    local m, a, spec = string.match(ARGV[i], '^[^\t]*\t[^\t]*\t[^\t]*\t([^\t]*)\t([^\t]*)\t(.*)$')
    local _, count = string.gsub(spec, '%S+ %S+ %S+ %S+ %S+ ', '')
    starts[i - 6] = starts[i - 7] + 1 + count
    local list = line_of(m, a, spec) == ticket.line and order or others
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

--- What a request takes of the line's windows: the greatest part of one, for its turn; and by window, in words.
local function units_of(list)
  local text, part = {}, 0
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 then
      text[#text + 1] = string.format('%s=%d', w.limit, w.units)
      if w.span ~= 0 then
        part = max(part, w.units / w.max)
      end
    end
  end
  return table.concat(text, ' '), part
end

--- Takes a place in the line of the best candidate, or stays in the one it has where that is as good.
local function stand_in_line(e, give_up)
  local line, tag = best.line, best.tag or 0
  local units, part = units_of(best.list)
  if client_decides and client_opens > best.opens then
    line, tag, units, part = 'c:' .. me, 0, '', 0 -- only its own quota is in its way: it takes nobody's place
  end
  local requests, tokens = 1, 0
  for i = 1, clients do
    if string.find(client[i].limit, '^tp') then
      tokens = max(tokens, client[i].units)
    end
  end
  local number = ticket and ticket.number
  if ticket then
    if line == ticket.line then
      local record = redis.call('HGET', room.tickets, id)
      redis.call('HSET', room.tickets, id, string.format('%d', e) .. string.match(record, '^%d+(.*)$'))
      redis.call('ZADD', room.alive, now + alive, id)
      return
    end
    local left = leave(room, id)
    knock_first(room, left, now)
  else
    number = string.format(NUMBER, redis.call('HINCRBY', KEYS[1], 'num', 1))
  end
  local turn = part / weight
  local member = table.concat({ line, rank(class, tag) .. number, id, me, best.model, units }, '\t')
  local record = { string.format('%d %.9f %d %d', e, turn, requests, tokens), member }
  redis.call('ZADD', room.queue, 0, member)
  local seen = { [line] = true }
  for i = 8, #ARGV do
    local m, a, spec = string.match(ARGV[i], '^[^\t]*\t[^\t]*\t[^\t]*\t([^\t]*)\t([^\t]*)\t(.*)$')
    local other = line_of(m, a, spec)
    if not seen[other] and #record < 18 then
      seen[other] = true
      record[#record + 1] = other .. '\t' .. number .. '\t' .. id
      redis.call('ZADD', room.guests, 0, record[#record])
    end
  end
  redis.call('HSET', room.tickets, id, table.concat(record, '\n'))
  redis.call('ZADD', room.alive, now + alive, id)
  if turn > 0 then
    redis.call('HSET', room.fair, 'F\t' .. line .. '\t' .. me, string.format('%.9f', tag + turn))
  end
  hold_quota(room, me, requests, tokens, 1)
  for _, key in ipairs({ room.queue, room.guests, room.tickets, room.alive, room.fair }) do
    redis.call('PEXPIRE', key, WAITERS_TTL)
  end
end

if not chosen then
  local held = redis.call('GET', KEYS[3])
  if held then
    return told_before(held)
  end
  if best and best.book and class == '0' and wait >= 0 and not ticket and not (client_decides and client_opens > best.opens) then
    book_units(best.book, best.list, now, me, weight, 1, 0)
  end
  -- A slot or a probe may be free long before its deadline: whoever would wait at all, waits for that.
  if best and best_opens < NEVER and wait > 0 and (ticket or best_opens - now <= wait or best_guess) then
    stand_in_line(best_opens)
    return { 2, now, best_opens, best_exact and 1 or 0 }
  end
  if ticket then
    knock_first(room, leave(room, id), now)
  end
  local by = 2
  if client_decides then
    by, lines = 1, { client_decides.limit, client_decides.max, client_opens }
  end
  local r1, r2, r3 = tightest(false)
  local t1, t2, t3 = tightest(true)
  return { 0, now, best_opens, best_exact and 1 or 0, by, r1, r2, r3, t1, t2, t3, unpack(lines) }
end

-- All reads are done. The lease is written first, and only where its name is free: the second asking of a lost reply
-- finds it and charges nothing.
local gens = { 0, 0 }
for i = 1, 2 do
  if chosen.breakers[i] then
    gens[i] = chosen.breakers[i].gen + (chosen.probes[i] and 1 or 0)
  end
end
local packed = chosen.at .. ' ' .. gens[1] .. ' ' .. gens[2] .. (chosen.probes[1] and ' 1' or ' 0') .. (chosen.probes[2] and ' 1' or ' 0')
for i = 1, clients do
  packed = packed .. place(client[i])
end
for i = 1, #chosen.list do
  packed = packed .. place(chosen.list[i])
end
local held = redis.call('SET', KEYS[3], packed, 'PX', ARGV[4], 'NX', 'GET')
if held then
  return told_before(held)
end
local deadline = now + ARGV[4]
for i = 1, clients do
  charge[client[i].kind](client[i], now, id, deadline)
end
for i = 1, #chosen.list do
  local w = chosen.list[i]
  if w.units > 0 then
    charge[w.kind](w, now, id, deadline)
  end
end
for i = 1, 2 do
  if chosen.probes[i] then
    local state = chosen.breakers[i]
    state.gen, state.probe = gens[i], now + ARGV[5]
    write_breaker(KEYS[2], chosen.fields[i], state, now)
  end
end
redis.call('HSET', KEYS[1], 'seq', seq + 1, 't', now)
if class == '0' then
  book_units(chosen.book, chosen.list, now, me, weight, ticket and 0 or 1, 1) -- nothing is kept for flexible work
end
if crowded then
  if chosen.behind or first_of(room.queue, chosen.line) then
    local v = 'V\t' .. chosen.line
    redis.call('HSET', room.fair, v, string.format('%.9f', max(chosen.tag, (redis.call('HGET', room.fair, v) or 0) + 0)))
    if not ticket then
      local _, part = units_of(chosen.list)
      redis.call('HSET', room.fair, 'F\t' .. chosen.line .. '\t' .. me, string.format('%.9f', chosen.tag + part / weight))
    end
  end
  if ticket then
    if ticket.line == chosen.line then
      take_out(room, id)
      forget_if_empty(room, ticket.line)
    else
      knock_first(room, leave(room, id), now)
    end
    nudge(room, chosen.line, chosen.list, chosen.model, now)
  end
end
local r1, r2, r3 = tightest(false)
local t1, t2, t3 = tightest(true)
if ticket then
  lines = {} -- not looked at in order: there can be holes
end
return { 1, chosen.at, now, seq + 1, packed, r1, r2, r3, t1, t2, t3, unpack(lines) }
