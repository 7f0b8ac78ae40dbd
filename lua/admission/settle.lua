--[[ admission/settle: replaces what one admission reserved by what was used, and tells every replica how the attempt ended. Once.

  KEYS  1 meta  2 health  3 lease  4 speed  5-9 the waiting room  10 the shares of the candidate's line
        11… the client's windows, their heads first, then the candidate's
  ARGV  1 slack  2 packed client windows  3 packed candidate, as in admit; units = what was used, -1 = as charged
        4 verdict on the provider's breaker  5 on the model's: good, failed, nothing
        6 breaker rules "fails wins open_ms"
        7 cool-down: "" or "scope ms limit cause"; scope k, m or a; ms 0 = until that limit's window opens; limit - = none
        8 hints: "limit max remaining scope raise " each; max, remaining -1 = not said; raise 1 = may lift the limit
        9 time to the first content in ms, -1 = not known; 10 field of `speed`  11 TTL of the mark that it was settled
       12 "end"; "commit": only the verdicts of a probe, the lease goes on; "find": nothing, only say what is held
       13 the client's id
  Reply 1 (find: the packed lease); 0 where there was no such lease (settled before, or lost; to find: never made, and then
        it never will be)
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/lease"
--- @include "lib/client_windows"
--- @include "lib/cooldown"
--- @include "lib/breaker"
--- @include "lib/breaker_update"
--- @include "lib/queue_keys"
--- @include "lib/fair_shares"
--- @include "lib/wait_queue"
--- @include "lib/notify"
local held
if ARGV[12] == 'end' then
  held = redis.call('SET', KEYS[3], 'x', 'PX', ARGV[11], 'GET')
  if not held then
    -- One that was made and is not here any more belongs to a state that was lost: it must stay free to be repeated.
    redis.call('DEL', KEYS[3])
  end
else
  held = redis.call('GET', KEYS[3])
end
if not held or held == 'x' then
  if ARGV[12] == 'find' then
    redis.call('SET', KEYS[3], 'x', 'PX', ARGV[11])
  end
  return 0
end
if ARGV[12] == 'find' then
  return held
end
local now = clock(redis.call('HGET', KEYS[1], 't'))
slack = ARGV[1] + 0
local p, b, k, m, a, model, line, spec = read_candidate(ARGV[3])
local health = redis.call('HMGET', KEYS[2], p, b, k, m, a)
local lease = read_lease(held)

local room = waiting_room(5)
local crowded = redis.call('ZCARD', room.queue) > 0
local rules
--- Tells one breaker; returns the generation that the lease may speak for from here on.
local function tell(field, value, gen, probe, verdict)
  if not value and verdict ~= 'failed' then
    return gen
  end
  if not rules then
    local fails, wins, open = string.match(ARGV[6], '(%d+) (%d+) (%d+)')
    rules = { fails + 0, wins + 0, open + 0 }
  end
  if judge(KEYS[2], field, value, gen, probe == 1, verdict, rules, now) and probe == 1 then
    if crowded then
      waiting().knock_provider(room, string.match(p, '^p:(.*)$'), now) -- whoever waited for the probe
    end
    return gen + 1
  end
  return gen
end
local gen_p, gen_b = tell(p, health[1], lease[2], lease[4], ARGV[4]), tell(b, health[2], lease[3], lease[5], ARGV[5])
if ARGV[12] == 'commit' then
  lease[2], lease[3], lease[4], lease[5] = gen_p, gen_b, 0, 0
  redis.call('SET', KEYS[3], lease_of(lease, #held / 8), 'KEEPTTL')
  return 1
end

local shut_till, shut_cause, limits_m = read_shut(health[4])
local account_till, account_cause, limits_a = read_shut(health[5])
local known = learn(learn(nil, limits_m), limits_a)
-- Most calls only correct their tokens: then the other windows are not looked at.
local hinted, shut = ARGV[8] ~= '', ARGV[7] ~= ''
local client, clients, after, heads = windows_of_client(ARGV[2], 11, true)
local list, count = windows(spec, after, known, not (hinted or shut or crowded))
-- Hints first: they speak of the state just after our charge, before anything is corrected.
local relearned
local ever_charged
if hinted then
  --- All units ever charged to a window, as it stands.
  ever_charged = function(w)
    if w.kind == 's' or w.kind == 'm' then
      read_head(w, now)
      return w.q
    end
    return redis.call('HGET', w.key, 'q') or birth(now)
  end
end
for limit, most, left, scope, raise in string.gmatch(ARGV[8], '(%a+) (%-?%d+) (%-?%d+) (%a) (%d) ') do
  local w, its
  for i = 1, count do
    if list[i].limit == limit then
      w, its = list[i], i
    end
  end
  most, left = most + 0, left + 0
  if w then
    if most > 0 and most ~= w.max and (most <= (w.config or w.max) or raise == '1') then
      local lower = most < w.max
      relearned = relearned or { m = {}, a = {} }
      relearned[scope][limit], w.config, w.max = most, w.config or w.max, most
      if lower and w.kind == 'b' then
        local used = w.units
        add(w, now, 0) -- it drains more slowly from here on: a longer life
        w.units = used
      end
    end
    local from = HEADS + EACH * (clients + its - 1)
    if left >= 0 and lease[from + 1] ~= -1 and w.kind ~= 'n' then
      local strangers = (most > 0 and most or w.max) - left - lease[from + 5]
      if strangers >= 1 then
        strangers = strangers - (ever_charged(w) - lease[from + 4])
        if w.kind == 'c' then
          rules_of(w).look(w, now, 0)
          if w.stale or lease[from + 1] ~= w.one or lease[from + 2] ~= 0 then
            strangers = 0 -- of a day that has ended since, or perhaps of the one before: it says nothing of this one
          end
        end
        if strangers >= 1 then
          local used = w.units
          add(w, now, floor(strangers))
          w.units = used
        end
      end
    end
  end
end

-- From here on w.units is by how much each was corrected.
local corrected = false
for i = 1, clients + count do
  local w, from = client[i] or list[i - clients], HEADS + EACH * (i - 1)
  if w then
    local place, charged = lease[from + 1], lease[from + 3]
    local used = place ~= -1 and w.units >= 0 and w.units or charged
    w.units = used - charged
    if place ~= -1 then
      if w.kind == 'n' then
        redis.call('ZREM', w.key, id_of(KEYS[3]))
      elseif w.kind == 'm' or w.units ~= 0 then
        local delta = w.units
        rules_of(w).correct(w, now, delta, place, lease[from + 2], lease[from + 4], used)
        w.units, corrected = delta, corrected or i > clients
      end
    end
  end
end
write_heads(heads)
if corrected then
  correct_share(KEYS[10], line, model, list, now, ARGV[13])
end

if hinted or shut then
  --- The instant at which a window that refused without naming one opens again, by our own books.
  local function opens(limit)
    for i = 1, #list do
      local w = list[i]
      if w.limit == limit then
        if w.kind == 'c' then
          return (now < w.next and w.next or w.after) + KAPPA
        elseif w.kind == 'n' then
          return now + 1000
        end
        w.units = 1
        local e = rules_of(w).look(w, now, 0)
        return e or now + (w.kind == 'b' and max(1000, ceil(w.span / w.max)) or min(60000, w.span))
      end
    end
    return now + 60000 -- nothing is known of that window: the usual minute
  end

  local scope, ms, limit, cause = string.match(ARGV[7], '^(%a) (%d+) (%S+) (.*)$')
  local till = scope and (ms == '0' and opens(limit) or now + ms)
  if scope == 'k' then
    local before = read_shut(health[3])
    if till > before then
      redis.call('HSET', KEYS[2], k, string.format('%d %s|', till, cause))
    end
  end
  --- Writes a field of cool-down and learned limits where either has changed; a limit as configured is not kept.
  local function write(which, field, before, why, limits)
    local changes = relearned and next(relearned[which]) and relearned[which]
    local longer = scope == which and till > before
    if not changes and not longer then
      return
    end
    if longer then
      before, why = till, cause
    end
    if changes then
      local text = {}
      for name, most in string.gmatch(limits, '(%a+)=(%d+)') do
        if not changes[name] then
          text[#text + 1] = name .. '=' .. most
        end
      end
      for i = 1, #list do
        local w = list[i]
        if changes[w.limit] and w.max ~= (w.config or w.max) then
          text[#text + 1] = w.limit .. '=' .. w.max
        end
      end
      limits = table.concat(text, ' ')
    end
    redis.call('HSET', KEYS[2], field, string.format('%d %s|%s', before, why, limits))
  end
  write('m', m, shut_till, shut_cause, limits_m)
  write('a', a, account_till, account_cause, limits_a)
end

if ARGV[9] ~= '-1' then
  local average = (redis.call('HGET', KEYS[4], ARGV[10]) or ARGV[9]) + 0
  redis.call('HSET', KEYS[4], ARGV[10], text(average * 0.8 + ARGV[9] * 0.2 + 0.5))
end
if crowded then
  nudging(waiting())(room, line, list, model, now)
end
return 1
