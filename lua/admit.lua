--[[ admit: may this request go now, and where? All of one candidate's windows and slots are charged, or none.

  KEYS  1 meta  2 health  3 lease  4… the client's windows, then every candidate's windows, in order
  ARGV  1 epoch the caller knows  2 highest sequence it has seen  3 slack  4 lease TTL  5 probe deadline (all ms)
        6 packed client windows ("" for none)
        7… one candidate each: "p \t b \t k \t m \t a \t windows": the fields of `health` to look at (lib/breaker) and
        the packed windows (lib/window); windows with 0 units are passed over
  Reply {1, candidate, now, sequence, lease, client limit, client used, client window}   go; lease as packed
        {0, now, e, exact, by, line…}  refused until e; by = 1 the client's quota, 2 the budget; each line: why, max, e
        {-1}                           another epoch, or the state lost something: `sync` first
        {-2, ms}                       nobody is admitted for so long: the pool is being repeated
        {-3, now}                      calendar boundaries out of range: send later ones
        {-4}                           this lease was cancelled before it was asked for
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

--- What a lost reply had said: the same lease again; or that it shall never be made.
local function again(held)
  if held == 'x' then
    return { -4 }
  end
  return { 1, tonumber(string.match(held, '^%d+')), now, seq, held, 0, 0, '' }
end

--- Looks at every window of a list. Returns the instant at which all fit (now: at once), and the one that decides.
local function look_at(list)
  local opens, decides, exact = now, nil, true
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 then
      local e
      if w.units > w.max then
        e = NEVER
      else
        e = look[w.kind](w, now, 0)
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

-- The client's own windows come first: they bind every candidate.
local client, clients = windows(ARGV[6], 4, slack, nil, true)
local client_opens, client_decides, client_exact = look_at(client)

local next_key = 4 + clients
local chosen, chosen_at, breakers, probes, fields

--- Nil where a candidate may go, else the reason, the limit, the instant and whether that is exact.
local function consider(packed)
  local p, b, k, m, a, spec = string.match(packed, '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$')
  local health = redis.call('HMGET', KEYS[2], p, b, k, m, a)
  local opens, why, most, exact, known = now, nil, 0, true, nil
  for i = 3, 5 do
    if health[i] then
      local till, cause, limits = read_shut(health[i])
      known = learn(known, limits)
      if till > opens then
        opens, why = till, 'shut: ' .. cause
      end
    end
  end
  local list, count = windows(spec, next_key, slack, known)
  next_key = next_key + count
  local ours, probing = { false, false }, { false, false }
  for i = 1, 2 do
    if health[i] then
      local state = read_breaker(health[i])
      ours[i] = state
      if state.off == 1 then
        return list, 'off', 0, NEVER, true
      end
      if state.till > now then
        if state.till > opens then
          opens, why, exact = state.till, 'breaker', true
        end
      elseif state.till > 0 then
        if state.probe > now then
          if state.probe > opens then
            opens, why, exact = state.probe, 'probe', false
          end
        else
          probing[i] = true
        end
      end
    end
  end
  local e, w, sure = look_at(list)
  if w and w.stale then
    return list, 'stale'
  end
  if w and (e > opens or not why) then
    opens, why, most, exact = e, w.limit, w.max, sure
  end
  if not why then
    breakers, probes, fields = ours, probing, { p, b }
  end
  return list, why, most, opens, exact
end

local lines, n, best, best_exact = {}, 0, NEVER, true
for i = 7, #ARGV do
  local list, why, most, opens, exact = consider(ARGV[i])
  if why == 'stale' then
    return { -3, now }
  end
  if not why then
    if not client_decides then
      chosen, chosen_at = list, i - 6
      break
    end
    why, most, opens, exact = client_decides.limit, client_decides.max, client_opens, client_exact
  end
  lines[n + 1], lines[n + 2], lines[n + 3] = why, most, opens
  n = n + 3
  local e = max(opens, client_opens)
  if e < best then
    best, best_exact = e, exact
    if client_opens > opens then
      best_exact = client_exact
    end
  end
end

if not chosen then
  local held = redis.call('GET', KEYS[3])
  if held then
    return again(held)
  end
  local by = 2
  if client_decides then
    by, lines = 1, { client_decides.limit, client_decides.max, client_opens }
  end
  return { 0, now, best, best_exact and 1 or 0, by, unpack(lines) }
end

-- All reads are done. The lease is written first, and only where its name is free: the second asking of a lost reply
-- finds it and charges nothing.
local gens = { 0, 0 }
for i = 1, 2 do
  if breakers[i] then
    gens[i] = breakers[i].gen + (probes[i] and 1 or 0)
  end
end
local packed = chosen_at .. ' ' .. gens[1] .. ' ' .. gens[2] .. (probes[1] and ' 1' or ' 0') .. (probes[2] and ' 1' or ' 0')
for i = 1, clients do
  packed = packed .. place(client[i])
end
for i = 1, #chosen do
  packed = packed .. place(chosen[i])
end
local held = redis.call('SET', KEYS[3], packed, 'PX', ARGV[4], 'NX', 'GET')
if held then
  return again(held)
end
local deadline, name = now + ARGV[4], string.match(KEYS[3], '[^:]*$')
for i = 1, clients do
  charge[client[i].kind](client[i], now)
end
for i = 1, #chosen do
  local w = chosen[i]
  if w.units > 0 then
    charge[w.kind](w, now, name, deadline)
  end
end
for i = 1, 2 do
  if probes[i] then
    local state = breakers[i]
    state.gen, state.probe = gens[i], now + ARGV[5]
    write_breaker(KEYS[2], fields[i], state, now)
  end
end
redis.call('HSET', KEYS[1], 'seq', seq + 1, 't', now)
local tight = client[1]
for i = 2, clients do
  if client[i].max - client[i].used < tight.max - tight.used then
    tight = client[i]
  end
end
if tight then
  return { 1, chosen_at, now, seq + 1, packed, tight.max, ceil(tight.used), tight.limit }
end
return { 1, chosen_at, now, seq + 1, packed, 0, 0, '' }
