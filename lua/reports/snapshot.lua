--[[ reports/snapshot: the whole pool at one instant, for planning and for people; taken at most once a second for all replicas
  of one catalogue. Sweeps what is dead, a little each time.

  KEYS  1 meta  2 health  3 speed  4 snap: the last one, as text; TTL 5 s  5… windows
  ARGV  1 oldest acceptable age in ms  2 slack  3 packed windows with 0 units, in the order of KEYS
  Reply text: lines "now", "o order", "h field value", "s field value", "w index used max", parted by line feeds
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/sliding_sweep"
--- @include "lib/cooldown"
local now = clock(redis.call('HGET', KEYS[1], 't'))
local last = redis.call('GET', KEYS[4])
if last then
  local taken = tonumber(string.match(last, '^%d+'))
  if taken <= now and now - taken < tonumber(ARGV[1]) then
    return last
  end
end
local lines, n = { string.format('%d', now) }, 1
local function say(...)
  n = n + 1
  lines[n] = table.concat({ ... }, '\t')
end
local order = redis.call('HGET', KEYS[1], 'order')
if order then
  say('o', order)
end
local health, dead = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #health, 2 do
  local field, value = health[i], health[i + 1]
  local kind, idle = string.match(field, '^%a')
  if kind == 'p' or kind == 'b' then
    local fails, till, touched, off = string.match(value, '^%d+ (%d+) %d+ (%d+) %d+ (%d+) (%d)')
    idle = fails == '0' and till == '0' and off == '0' and now - touched > 86400000
  else
    local till, _, limits = read_shut(value)
    idle = till <= now and limits == ''
  end
  if idle then
    dead[#dead + 1] = field
  else
    say('h', field, value)
  end
end
for i = 1, #dead, 100 do
  redis.call('HDEL', KEYS[2], unpack(dead, i, math.min(i + 99, #dead)))
end
local speed = redis.call('HGETALL', KEYS[3])
for i = 1, #speed, 2 do
  say('s', speed[i], speed[i + 1])
end
slack = ARGV[2] + 0
local sweeps, list = 8, windows(ARGV[3], 5)
for i = 1, #list do
  local w, used = list[i], 0
  if w.kind == 'b' then
    local state = redis.call('HMGET', w.key, 'v', 't')
    if state[1] then
      used = max(0, tonumber(state[1]) - w.max / w.span * max(0, now - tonumber(state[2])))
    end
  elseif w.kind == 'c' then
    used = tonumber(redis.call('HGET', w.key, now < w.next and w.next or w.after) or 0)
  elseif w.kind == 'n' then
    used = redis.call('ZCOUNT', w.key, '(' .. string.format('%d', now), '+inf')
  else
    read_head(w, now)
    if sweeps > 0 and w.used * 2 > w.max and now - w.swept > w.span / 16 then
      sweeps = sweeps - 1
      walk().sweep(w, now)
    end
    used = w.used
  end
  if used > 0 then
    say('w', i - 1, ceil(used))
  end
end
local text = table.concat(lines, '\n')
redis.call('SET', KEYS[4], text, 'PX', 5000)
return text
