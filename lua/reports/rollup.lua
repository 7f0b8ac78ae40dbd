--[[ reports/rollup: reads roll-ups (reports/record), whole or by some names.

  KEYS  the roll-ups
  ARGV  names; none: all of them
  Reply for each key how many pairs, then those: name, numbers
]]
local reply, n = {}, 0
for i = 1, #KEYS do
  local count_at = n + 1
  n = count_at
  if #ARGV == 0 then
    local flat = redis.call('HGETALL', KEYS[i])
    for j = 1, #flat do
      n = n + 1
      reply[n] = flat[j]
    end
  else
    local found = redis.call('HMGET', KEYS[i], unpack(ARGV))
    for j = 1, #ARGV do
      if found[j] then
        reply[n + 1], reply[n + 2] = ARGV[j], found[j]
        n = n + 2
      end
    end
  end
  reply[count_at] = (n - count_at) / 2
end
return reply
