--[[ reports/snapshot: the pool at one instant, for planning and status; taken at most once a second for all replicas of one
  catalogue, in slices of its windows, so that no call keeps others waiting. Each call also deletes a little of what has expired.

  KEYS  1 meta  2 health  3 speed  4 snap: the last reply of this call; TTL 5 s  5… the windows of the slice
  ARGV  1 oldest acceptable age in ms  2 arrival slack  3 packed windows with 0 units, in the order of KEYS
        4 what is read beside windows: "h" = the order of candidates, and health; "s" = speed
  Reply text: now; then "o strategy", "h field value field value …", "s field value …" and "w index used" lines, words separated
  by tabs. What is idle in `h` says no more than its absence would
]]
--- @include "lib/pool_clock"
--- @include "lib/window"
--- @include "lib/sliding_sweep"
--- @include "lib/cooldown"
local META, HEALTH, SPEED, SNAPSHOT, FIRST_WINDOW = 1, 2, 3, 4, 5 -- KEYS
local MAX_AGE, ARRIVAL_SLACK, WINDOWS, READS = 1, 2, 3, 4 -- ARGV
local SNAPSHOT_TTL_MS, BREAKER_IDLE_MS, MAX_SWEEPS = 5000, 86400000, 8
local MAX_CHECKED = 50 -- fields of `health` that one call checks whether they are idle

local now = pool_clock(KEYS[META])
local last = redis.call('GET', KEYS[SNAPSHOT])
if last then
  local taken_at = tonumber(string.match(last, '^%d+'))
  if taken_at <= now and now - taken_at < tonumber(ARGV[MAX_AGE]) then
    return last
  end
end
local lines = { decimal(now) }
local function add_line(...)
  lines[#lines + 1] = table.concat({ ... }, '\t')
end
local function reads(what)
  return string.find(ARGV[READS], what, 1, true)
end
local strategy = reads('h') and redis.call('HGET', KEYS[META], 'order')
if strategy then
  add_line('o', strategy)
end

--- Whether a field of `health` says no more than its absence would.
local function is_idle(field, value)
  local kind = string.sub(field, 1, 1)
  if kind == 'p' or kind == 'b' then
    local failures, open_until, touched, off = string.match(value, '^%d+ (%d+) %d+ (%d+) %d+ (%d+) (%d)')
    return failures == '0' and open_until == '0' and off == '0' and now - touched > BREAKER_IDLE_MS
  end
  local cooldown_until, _, limits = parse_cooldown(value)
  return cooldown_until <= now and limits == ''
end

--- Adds all fields of a hash as one line, which costs far less than a line for each. Returns them.
local function add_hash(letter, key)
  local fields = redis.call('HGETALL', key)
  if #fields > 0 then
    lines[#lines + 1] = letter .. '\t' .. table.concat(fields, '\t')
  end
  return fields
end

if reads('h') then
  local health, idle = add_hash('h', KEYS[HEALTH]), {}
  local fields = #health / 2
  -- Another part of a large hash every second.
  local from = fields > MAX_CHECKED and math.floor(now / 1000) * MAX_CHECKED % fields or 0
  for n = 0, min(fields, MAX_CHECKED) - 1 do
    local at = (from + n) % fields * 2 + 1
    if is_idle(health[at], health[at + 1]) then
      idle[#idle + 1] = health[at]
    end
  end
  if #idle > 0 then
    redis.call('HDEL', KEYS[HEALTH], unpack(idle))
  end
end
if reads('s') then
  add_hash('s', KEYS[SPEED])
end

arrival_slack = ARGV[ARRIVAL_SLACK] + 0
local sweeps = 0

--- Units of a window; a sliding one is swept where its bound may be far off.
local function used_units(w)
  if w.kind == 'b' then
    local state = redis.call('HMGET', w.key, 'v', 't')
    local level, drains_from = state[1], state[2]
    return level and level - w.max / w.span * max(0, now - drains_from) or 0
  elseif w.kind == 'c' then
    return tonumber(redis.call('HGET', w.key, redis_ms < w.next and w.next or w.after) or 0)
  elseif w.kind == 'n' then
    return redis.call('ZCOUNT', w.key, '(' .. decimal(now), '+inf')
  end
  read_head(w, now)
  if sweeps < MAX_SWEEPS and w.used * 2 > w.max and now - w.swept_at > w.span / 16 then
    sweeps = sweeps + 1
    sliding_sweep().sweep(w, now)
  end
  return w.used
end

for i, w in ipairs((parse_windows(ARGV[WINDOWS], FIRST_WINDOW))) do
  local used = used_units(w)
  if used > 0 then
    add_line('w', i - 1, ceil(used))
  end
end
local snapshot = table.concat(lines, '\n')
redis.call('SET', KEYS[SNAPSHOT], snapshot, 'PX', SNAPSHOT_TTL_MS)
return snapshot
