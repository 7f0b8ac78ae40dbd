--[[ reports/record: finished requests of one replica, in batches, each written once however often it is sent: totals, the
  capped journal, the roll-ups.

  A roll-up is a hash of one stretch of time: name = numbers parted by blanks, added place by place. It has a bound of
  names; what comes beyond it is added up under one name for all the rest.

  KEYS  1 totals: hash requests, successes, failures; bounded  2 journal: stream, capped
        3 batch: number of the last batch of this replica; TTL 1 day
        4… the roll-ups, each with its own TTL
  ARGV  1 number of this batch  2 most entries of the journal  3 how many requests
        4… each request: 1 = success, 0 = failure; its line (JSON)
        then each roll-up: TTL in ms, most names, name of the rest, how many names; each name, its numbers
  Reply how many requests were written; 0: this batch was written before
]]
if tonumber(ARGV[1]) <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  return 0
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', 86400000)

local requests, successes, at = ARGV[3] + 0, 0, 4
for _ = 1, requests do
  if ARGV[at] == '1' then
    successes = successes + 1
  end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'line', ARGV[at + 1])
  at = at + 2
end
redis.call('HINCRBY', KEYS[1], 'requests', requests)
redis.call('HINCRBY', KEYS[1], 'successes', successes)
redis.call('HINCRBY', KEYS[1], 'failures', requests - successes)

--- Two lists of numbers, added place by place.
local function add(one, other)
  local sums, n = {}, 0
  for number in string.gmatch(one, '%S+') do
    n = n + 1
    sums[n] = number + 0
  end
  n = 0
  for number in string.gmatch(other, '%S+') do
    n = n + 1
    sums[n] = (sums[n] or 0) + number
  end
  for i = 1, #sums do
    sums[i] = string.format('%.0f', sums[i])
  end
  return table.concat(sums, ' ')
end

for i = 4, #KEYS do
  local key, ttl, most, rest, count = KEYS[i], ARGV[at], ARGV[at + 1] + 0, ARGV[at + 2], ARGV[at + 3] + 0
  local names, pairs_of, n, size, born, beyond = {}, {}, 0, nil, false, nil
  for j = 1, count do
    names[j] = ARGV[at + 2 + j * 2]
  end
  local had = redis.call('HMGET', key, unpack(names))
  for j = 1, count do
    local numbers, fits = ARGV[at + 3 + j * 2], true
    if had[j] then
      numbers = add(had[j], numbers)
    else
      if not size then
        size = redis.call('HLEN', key)
        born = size == 0
      end
      fits = size < most
      size = size + 1
    end
    if fits then
      pairs_of[n + 1], pairs_of[n + 2] = names[j], numbers
      n = n + 2
    else
      beyond = beyond and add(beyond, numbers) or numbers
    end
  end
  if beyond then
    local held = redis.call('HGET', key, rest)
    pairs_of[n + 1], pairs_of[n + 2] = rest, held and add(held, beyond) or beyond
  end
  redis.call('HSET', key, unpack(pairs_of))
  if born then
    redis.call('PEXPIRE', key, ttl)
  end
  at = at + 4 + count * 2
end
return requests
