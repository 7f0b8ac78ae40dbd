--[[ reports/budget: where some windows stand, to the unit, and when each takes one unit more: for people. Charges nothing; drops
  what is dead.

  KEYS  1 meta  2 health  3 alive: sorted set of replicas  4 totals  5 queue (lib/queue_keys)  6… windows
  ARGV  1 slack in ms  2 ms after which a silent replica is not counted
        3… one account and model each: "m \t a \t windows": its fields of `health`, its packed windows of 1 unit (lib/window)
  Reply {now, replicas, requests, successes, failures, waiting, then for each window: max in force, learned, used, opens,
        exact, empty, waiting}: opens = when one unit more fits; empty = when nothing of what is in it counts any more, 0 =
        not known; waiting = tickets in line, and their units.
        {-3, now}: calendar boundaries out of range: send later ones
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/sliding_sweep"
--- @include "lib/cooldown"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local now = clock(redis.call('HGET', KEYS[1], 't'))
slack = ARGV[1] + 0
local totals = redis.call('HMGET', KEYS[4], 'requests', 'successes', 'failures')
local replicas = redis.call('ZCOUNT', KEYS[3], wall - ARGV[2], '+inf')
local reply = { now, replicas, tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0) }
local members, wanted = redis.call('ZRANGE', KEYS[5], 0, -1), {}
reply[6] = #members
local n, next_key = 6, 6
local read_member = waiting().read_member
for i = 1, #members do
  local line, _, _, _, model, units = read_member(members[i])
  local of_model = string.sub(line, 1, 1) == 'm' and line or 'm' .. string.sub(line, 2) .. '/' .. model
  for limit, asked in string.gmatch(units, '(%a+)=(%d+)') do
    local whose = (string.find(limit, '^%u') and line or of_model) .. '\t' .. limit
    wanted[whose] = (wanted[whose] or 0) + asked
  end
end

--- Units of a sliding window, counted, and when the last of them will have left.
local function count(w)
  local last, units_at = 0, {}
  read_head(w, now)
  walk().sweep(w, now, units_at)
  for stop, units in pairs(units_at) do
    if units > 0 and stop > last then
      last = stop
    end
  end
  return w.used > 0 and last + w.span + slack or 0
end

for i = 3, #ARGV do
  local m, a, spec = string.match(ARGV[i], '^([^\t]*)\t([^\t]*)\t(.*)$')
  local known
  for _, field in ipairs({ m, a }) do
    local value = redis.call('HGET', KEYS[2], field)
    if value then
      local _, _, limits = read_shut(value)
      known = learn(known, limits)
    end
  end
  local list, windows_here = windows(spec, next_key, known)
  next_key = next_key + windows_here
  for _, w in ipairs(list) do
    local empty, opens = 0, nil
    if (w.kind == 's' or w.kind == 'm') and redis.call('EXISTS', w.key) == 1 then
      empty = count(w)
    end
    opens = rules_of(w).look(w, now, 0)
    if w.stale then
      return { -3, now }
    end
    if w.kind == 'b' and w.used > 0 then
      empty = max(now, w.from) + ceil(w.used * w.span / w.max)
    elseif w.kind == 'c' then
      empty = now < w.next and w.next or w.after
    end
    reply[n + 1], reply[n + 2], reply[n + 3] = w.max, known and known[w.limit] and 1 or 0, ceil(w.used)
    reply[n + 4], reply[n + 5], reply[n + 6] = opens or now, (w.kind == 'm' or opens and is_guess(w)) and 0 or 1, empty
    reply[n + 7] = wanted[(string.find(w.limit, '^%u') and a or m) .. '\t' .. w.limit] or 0
    n = n + 7
  end
end
return reply
