--[[ reports/budget: the exact state of some windows, and when each takes one unit more. Charges nothing; deletes what has expired.

  KEYS  1 meta  2 health  3 alive: sorted set of replicas  4 totals  5 queue (lib/queue_keys)  6… windows
  ARGV  1 arrival slack  2 ms after which a silent replica is not counted
        3… one account and model each: "m \t a \t windows": its fields of `health`, its packed windows of 1 unit (lib/window)
  Reply {now, replicas, requests, successes, failures, waiting, then for each window: max in force, learned, used,
        opens_at, exact, empty_at, queued, learned_at, origin}: learned_at = when the limit was learned; origin = 1 by an
        answer, 2 by a refusal, 3 as a ceiling (lib/learned_limits); both 0 = not learned; opens_at = when one unit more
        fits; empty_at = when none of its units counts any more, 0 = not known; queued = units of the tickets that wait for it
        {-3, TIME}: calendar boundaries are out of range: send later ones
]]
--- @include "lib/pool_clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/sliding_sweep"
--- @include "lib/cooldown"
--- @include "lib/learned_limits"
--- @include "lib/wait_queue"
local META, HEALTH, REPLICAS, TOTALS, QUEUE, FIRST_WINDOW = 1, 2, 3, 4, 5, 6 -- KEYS
local ARRIVAL_SLACK, ALIVE_MS, FIRST_SUBJECT = 1, 2, 3 -- ARGV
local ORIGINS = { a = 1, r = 2, c = 3 }

local now = pool_clock(KEYS[META])
arrival_slack = ARGV[ARRIVAL_SLACK] + 0
local totals = redis.call('HMGET', KEYS[TOTALS], 'requests', 'successes', 'failures')
local replicas = redis.call('ZCOUNT', KEYS[REPLICAS], redis_ms - ARGV[ALIVE_MS], '+inf')
local entries = redis.call('ZRANGE', KEYS[QUEUE], 0, -1)
local reply = {
  now, replicas, tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0), #entries,
}

--- Units that tickets wait for, by window: the field of its account (of its model, where it does not span models), a tab,
--- its limit.
local function queued_units()
  local queued, parse_entry = {}, wait_queue().parse_entry
  for i = 1, #entries do
    local name, _, _, _, model, units = parse_entry(entries[i])
    local of_model = string.sub(name, 1, 1) == 'm' and name or 'm' .. string.sub(name, 2) .. '/' .. model
    for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
      local name_of_window = (string.find(limit, '^%u') and name or of_model) .. '\t' .. limit
      queued[name_of_window] = (queued[name_of_window] or 0) + n
    end
  end
  return queued
end

--- Counts the units of a sliding window. Returns when the last of them will have left.
local function count_sliding(w)
  local last, units_by_end = 0, {}
  read_head(w, now)
  sliding_sweep().sweep(w, now, units_by_end)
  for stop, units in pairs(units_by_end) do
    if units > 0 then
      last = max(last, stop)
    end
  end
  return w.used > 0 and last + w.span + arrival_slack or 0
end

--- Reads a window. Returns when it takes one unit more (nil: now), and when it will be empty (0: not known).
local function read_window(w)
  local empty_at = 0
  if (w.kind == 's' or w.kind == 'm') and redis.call('EXISTS', w.key) == 1 then
    empty_at = count_sliding(w)
  end
  local opens_at = rules_of(w).check(w, now, 0)
  if w.kind == 'b' and w.used > 0 then
    empty_at = max(now, w.drains_from) + ceil(w.used * w.span / w.max)
  elseif w.kind == 'c' then
    empty_at = (redis_ms < w.next and w.next or w.after) + now - redis_ms
  end
  return opens_at, empty_at
end

--- When and by what a limit was learned, of the learned limits of two fields of `health`.
local function learned_from(limits, limit)
  for name, at, origin in string.gmatch(limits, '(%a+)=%d+@(%d+)(%a)') do
    if name == limit then
      return tonumber(at), ORIGINS[origin] or 0
    end
  end
  return 0, 0
end

local queued, next_key = queued_units(), FIRST_WINDOW
for i = FIRST_SUBJECT, #ARGV do
  local model_field, account_field, spec = string.match(ARGV[i], '^([^\t]*)\t([^\t]*)\t(.*)$')
  local health, learned, texts = redis.call('HMGET', KEYS[HEALTH], model_field, account_field), nil, ''
  for j = 1, 2 do
    local _, _, limits = parse_cooldown(health[j])
    learned, texts = add_learned(learned, limits), texts .. ' ' .. limits
  end
  local windows, count = parse_windows(spec, next_key, learned)
  next_key = next_key + count
  for _, w in ipairs(windows) do
    local opens_at, empty_at = read_window(w)
    if w.stale then
      return { -3, redis_ms }
    end
    local is_exact = w.kind ~= 'm' and not (opens_at and is_estimate(w))
    local is_learned = learned and learned[w.limit]
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = w.max, is_learned and 1 or 0, ceil(w.used)
    reply[n + 4], reply[n + 5], reply[n + 6] = opens_at or now, is_exact and 1 or 0, empty_at
    reply[n + 8], reply[n + 9] = 0, 0
    if is_learned then
      reply[n + 8], reply[n + 9] = learned_from(texts, w.limit)
    end
    reply[n + 7] = queued[(string.find(w.limit, '^%u') and account_field or model_field) .. '\t' .. w.limit] or 0
  end
end
return reply
