--[[ admission/settle: ends one attempt. Replaces what its admission reserved by what was used, and records for all replicas how
  the attempt ended; once for each lease.

  KEYS  1 meta  2 health  3 lease  4 speed  5-9 the wait queue (lib/queue_keys)  10 the fair shares of the candidate's queue
        11… the client's windows, after their heads; then the candidate's
  ARGV  1 arrival slack  2 packed client windows  3 the candidate (lib/candidate); in both, units = what was used, -1 = as
          charged
        4 verdict on the provider's breaker  5 on the model's: good, failed or nothing
        6 breaker rules: "failures to open, successes to close, ms open", separated by blanks
        7 cooldown: "" or "scope ms limit cause"; scope k, m or a; ms 0 = until that limit's window opens; limit - = none
        8 hints: "limit max remaining scope raise " each; max, remaining -1 = not given; max -2 = a ceiling that is not named;
          raise 1 = may raise the limit
        9 ms to the first token, -1 = not known  10 field of `speed`  11 TTL of the mark that the lease was settled
       12 "end"; "commit": only settles a probe's verdicts, the lease stays; "find": only returns the lease
       13 the client's id
  Reply 1 (find: the packed lease); 0 where there is no such lease: it was settled before, or lost; after "find" it was
        never made, and never will be
]]
--- @include "lib/pool_clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/sliding_sweep"
--- @include "lib/client_windows"
--- @include "lib/lease"
--- @include "lib/candidate"
--- @include "lib/cooldown"
--- @include "lib/learned_limits"
--- @include "lib/breaker_update"
--- @include "lib/fair_correction"
--- @include "lib/queue_keys"
--- @include "lib/notify"
local META, HEALTH, LEASE, SPEED, QUEUE, SHARES, FIRST_WINDOW = 1, 2, 3, 4, 5, 10, 11 -- KEYS
local ARRIVAL_SLACK, CLIENT_WINDOWS, CANDIDATE_USE, PROVIDER_VERDICT, MODEL_VERDICT, BREAKER_RULES = 1, 2, 3, 4, 5, 6 -- ARGV
local MIN_CEILING, NEARLY_FULL = 5, 0.75 -- fewer units than these tell nothing; a window fuller than this explains a refusal
local COOLDOWN, HINTS, FIRST_TOKEN_MS, SPEED_FIELD, SETTLED_TTL, MODE, CLIENT = 7, 8, 9, 10, 11, 12, 13 -- ARGV

--- Takes the lease that is to be settled, or reads the one that stays. Returns nil where there is none.
local function take_lease()
  local packed
  if ARGV[MODE] == 'end' then
    packed = redis.call('SET', KEYS[LEASE], 'x', 'PX', ARGV[SETTLED_TTL], 'GET')
    if not packed then
      -- A lease that was made and is missing belongs to a state that was lost: its name must stay free for the replay.
      redis.call('DEL', KEYS[LEASE])
    end
  else
    packed = redis.call('GET', KEYS[LEASE])
  end
  if packed and packed ~= 'x' then
    return packed
  end
  if ARGV[MODE] == 'find' then
    redis.call('SET', KEYS[LEASE], 'x', 'PX', ARGV[SETTLED_TTL])
  end
end

local packed = take_lease()
if not packed then
  return 0
elseif ARGV[MODE] == 'find' then
  return packed
end

local now = pool_clock(KEYS[META])
arrival_slack = ARGV[ARRIVAL_SLACK] + 0
local lease, candidate = unpack_lease(packed), parse_candidate(ARGV[CANDIDATE_USE])
local provider_field, breaker_field, key_field, model_field, account_field = unpack(candidate.fields)
local health = redis.call('HMGET', KEYS[HEALTH], provider_field, breaker_field, key_field, model_field, account_field)
local keys = queue_keys(QUEUE)
local queue = redis.call('ZCARD', keys.queue) > 0 and wait_queue() -- false where no request waits

--- Applies a verdict to one breaker. Returns the generation for which the lease may report from now on.
local function settle_breaker(field, value, generation, is_probe, verdict)
  if not value and verdict ~= 'failed' then
    return generation
  end
  local failures, successes, open_ms = string.match(ARGV[BREAKER_RULES], '(%d+) (%d+) (%d+)')
  local rules = { failures + 0, successes + 0, open_ms + 0 }
  local changed, is_open = update_breaker(KEYS[HEALTH], field, value, generation, is_probe == 1, verdict, rules, now)
  if queue and changed and (is_probe == 1 or is_open) then
    local notify = is_open and queue.notify_all or queue.notify_provider
    notify(keys, string.match(provider_field, '^p:(.*)$'), now)
  end
  return changed and is_probe == 1 and generation + 1 or generation
end

local _, provider_generation, model_generation, provider_probe, model_probe = unpack(lease, 1, 5)
provider_generation =
  settle_breaker(provider_field, health[1], provider_generation, provider_probe, ARGV[PROVIDER_VERDICT])
model_generation =
  settle_breaker(breaker_field, health[2], model_generation, model_probe, ARGV[MODEL_VERDICT])
if ARGV[MODE] == 'commit' then
  lease[2], lease[3], lease[4], lease[5] = provider_generation, model_generation, 0, 0
  redis.call('SET', KEYS[LEASE], pack_lease(lease, #packed / 8), 'KEEPTTL')
  return 1
end

local model_until, model_cause, model_limits = parse_cooldown(health[4])
local account_until, account_cause, account_limits = parse_cooldown(health[5])
local has_hints, has_cooldown = ARGV[HINTS] ~= '', ARGV[COOLDOWN] ~= ''
local learned = add_learned(add_learned(nil, model_limits), account_limits)
-- Most calls only correct their tokens; the other windows are then not read.
local needed_only = not (has_hints or has_cooldown or queue)
local of_client, clients, first_key, heads = parse_client_windows(ARGV[CLIENT_WINDOWS], FIRST_WINDOW, true)
local windows, count = parse_windows(candidate.spec, first_key, learned, needed_only)
local changed_limits = { m = {}, a = {} } -- scope → limit → origin (lib/learned_limits) of a maximum that a hint has changed

-- Applies the provider's hints. They describe the state just after the charge, so they come before any correction.
if has_hints then
  --- All units ever charged to a window, as it is now.
  local function charged_total(w)
    if w.kind == 's' or w.kind == 'm' then
      read_head(w, now)
      return w.charged_total
    end
    return redis.call('HGET', w.key, 'q') or initial_total(now)
  end

  --- Charges units that other users of the account have spent; the call's own units are kept for its correction.
  local function add_foreign(w, units)
    local own = w.units
    add_spent(rules_of(w), w, now, units)
    w.units = own
  end

  --- Applies a limit that the provider has named: a lower one always, a higher one where it may raise the configured limit.
  local function apply_limit(w, scope, max_units, may_raise, origin)
    local configured = w.configured_max or w.max
    if max_units <= 0 or max_units == w.max or max_units > configured and not may_raise then
      return
    end
    local is_lower = max_units < w.max
    changed_limits[scope][w.limit], w.configured_max, w.max = origin, configured, max_units
    if is_lower and w.kind == 'b' then
      add_foreign(w, 0) -- it drains more slowly now, so its key must live longer
    end
  end

  --- The ceiling of a window that a refusal has shown: what was in it beside the refused call. 0 where that is too little to
  --- tell, or where another window is nearly full and explains the refusal.
  local function ceiling(w)
    for i = 1, count do
      local other = windows[i]
      if other ~= w and other.kind == 's' then
        read_head(other, now)
        if other.used > other.max * NEARLY_FULL then
          return 0
        end
      end
    end
    if w.kind ~= 's' then
      return 0
    end
    read_head(w, now)
    sliding_sweep().sweep(w, now)
    return w.used > MIN_CEILING and w.used - 1 or 0
  end

  --- Charges what others must have used, by what the provider says was left just after this call's charge.
  local function apply_remaining(w, number, max_units, remaining)
    local position, second_position, _, total_then, used_then = lease_charge(lease, number)
    if remaining < 0 or position == -1 or w.kind == 'n' then
      return
    end
    local foreign = (max_units > 0 and max_units or w.max) - remaining - used_then
    if foreign < 1 then
      return
    end
    foreign = foreign - (charged_total(w) - total_then)
    if w.kind == 'c' then
      rules_of(w).check(w, now, 0)
      if w.stale or position ~= w.position or second_position ~= 0 then
        return -- the hint is of a period that has ended, or perhaps of the one before
      end
    end
    if foreign >= 1 then
      add_foreign(w, floor(foreign))
    end
  end

  for limit, max_units, remaining, scope, raise in string.gmatch(ARGV[HINTS], '(%a+) (%-?%d+) (%-?%d+) (%a) (%d) ') do
    for i = count, 1, -1 do
      if windows[i].limit == limit then
        local origin = has_cooldown and 'r' or 'a'
        if max_units == '-2' then
          max_units, origin = ceiling(windows[i]), 'c'
        end
        apply_limit(windows[i], scope, max_units + 0, raise == '1', origin)
        apply_remaining(windows[i], clients + i, max_units + 0, remaining + 0)
        break
      end
    end
  end
end

-- Replaces the charge of each window by what was used. Afterwards w.units is the difference.
local corrected = false
for i = 1, clients + count do
  local w = of_client[i] or windows[i - clients]
  if w then
    local position, second_position, charged, total_then = lease_charge(lease, i)
    local used = position ~= -1 and w.units >= 0 and w.units or charged
    local delta = used - charged
    w.units = delta
    if position ~= -1 and w.kind == 'n' then
      redis.call('ZREM', w.key, lease_id(KEYS[LEASE]))
    elseif position ~= -1 and (w.kind == 'm' or delta ~= 0) then
      rules_of(w).correct(w, now, delta, position, second_position, total_then, used)
      w.units, corrected = delta, corrected or i > clients
    end
  end
end
write_client_heads(heads)
if corrected then
  correct_demand(KEYS[SHARES], candidate.queue, candidate.model, windows, now, ARGV[CLIENT])
end

-- Writes the cooldown of the attempt's scope, where it is longer than the present one, and the limits that were learned.
if has_hints or has_cooldown then
  --- The instant at which the window of a limit opens again, by our own count, where the provider refused without naming one.
  local function opens_at(limit)
    for i = 1, #windows do
      local w = windows[i]
      if w.limit == limit then
        if w.kind == 'c' then
          return (now < w.next and w.next or w.after) + CALENDAR_SKEW_MS
        elseif w.kind == 'n' then
          return now + 1000
        end
        w.units = 1
        local earliest = rules_of(w).check(w, now, 0)
        return earliest or now + (w.kind == 'b' and max(1000, ceil(w.span / w.max)) or min(60000, w.span))
      end
    end
    return now + 60000 -- the window is not known: the usual minute
  end

  --- The learned limits of a field after this call, as text. A limit that is as configured is not kept.
  local function learned_limits(before, changes)
    local text = {}
    for limit, rest in string.gmatch(before, '(%a+)=(%S+)') do
      if not changes[limit] then
        text[#text + 1] = limit .. '=' .. rest
      end
    end
    for i = 1, #windows do
      local w = windows[i]
      if changes[w.limit] and w.max ~= (w.configured_max or w.max) then
        text[#text + 1] = string.format('%s=%.0f@%.0f%s', w.limit, w.max, now, changes[w.limit])
      end
    end
    return table.concat(text, ' ')
  end

  local scope, ms, limit, cause = string.match(ARGV[COOLDOWN], '^(%a) (%d+) (%S+) (.*)$')
  local cooldown_until = scope and (ms == '0' and opens_at(limit) or now + ms)
  if scope == 'k' and cooldown_until > (parse_cooldown(health[3])) then
    redis.call('HSET', KEYS[HEALTH], key_field, string.format('%d %s|', cooldown_until, cause))
  end
  local function write(field_scope, field, present_until, present_cause, limits)
    local changes = changed_limits[field_scope]
    local is_longer = scope == field_scope and cooldown_until > present_until
    if is_longer then
      present_until, present_cause = cooldown_until, cause
    end
    if next(changes) then
      limits = learned_limits(limits, changes)
    end
    if is_longer or next(changes) then
      redis.call('HSET', KEYS[HEALTH], field, string.format('%d %s|%s', present_until, present_cause, limits))
    end
  end
  write('m', model_field, model_until, model_cause, model_limits)
  write('a', account_field, account_until, account_cause, account_limits)
end

if ARGV[FIRST_TOKEN_MS] ~= '-1' then
  local average = (redis.call('HGET', KEYS[SPEED], ARGV[SPEED_FIELD]) or ARGV[FIRST_TOKEN_MS]) + 0
  redis.call('HSET', KEYS[SPEED], ARGV[SPEED_FIELD], decimal(average * 0.8 + ARGV[FIRST_TOKEN_MS] * 0.2 + 0.5))
end
if queue then
  runnable_notifier(queue)(keys, candidate.queue, windows, candidate.model, now)
end
return 1
