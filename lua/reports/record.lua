--[[ reports/record: writes finished requests of one replica, in batches, each once however often it is sent: totals, the capped
  journal, the roll-ups.

  A roll-up is a hash of one period: name = numbers separated by blanks, which are added one by one. It has a limit of
  names; further ones are added up under one name for the rest.

  KEYS  1 totals: hash requests, successes, failures; bounded  2 journal: stream, capped
        3 batch: number of the last record of this replica; TTL 1 day
        4… the roll-ups, each with its own TTL
  ARGV  1 number of the last record of this batch  2 entries of the journal at most  3 number of requests
        4… each request: 1 = success, 0 = failure; its record (JSON)
        then each roll-up: TTL in ms, names at most, name of the rest, number of names; each name, its numbers
  Reply how many requests were written; 0: this batch was written before
]]
local TOTALS, JOURNAL, BATCH, FIRST_ROLLUP = 1, 2, 3, 4 -- KEYS
local NUMBER, MAX_ENTRIES, REQUESTS, FIRST_REQUEST = 1, 2, 3, 4 -- ARGV
local BATCH_TTL_MS = 86400000

if tonumber(ARGV[NUMBER]) <= tonumber(redis.call('GET', KEYS[BATCH]) or 0) then
  return 0
end
redis.call('SET', KEYS[BATCH], ARGV[NUMBER], 'PX', BATCH_TTL_MS)

local requests, successes, next_arg = ARGV[REQUESTS] + 0, 0, FIRST_REQUEST
for _ = 1, requests do
  local is_success, record = ARGV[next_arg] == '1', ARGV[next_arg + 1]
  if is_success then
    successes = successes + 1
  end
  redis.call('XADD', KEYS[JOURNAL], 'MAXLEN', '~', ARGV[MAX_ENTRIES], '*', 'line', record)
  next_arg = next_arg + 2
end
redis.call('HINCRBY', KEYS[TOTALS], 'requests', requests)
redis.call('HINCRBY', KEYS[TOTALS], 'successes', successes)
redis.call('HINCRBY', KEYS[TOTALS], 'failures', requests - successes)

--- Two lists of numbers, added one by one.
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

--- Adds to one roll-up the names and numbers that begin at ARGV[first].
local function add_to_rollup(key, ttl, max_names, rest_name, count, first)
  local names, numbers = {}, {}
  for i = 1, count do
    names[i], numbers[i] = ARGV[first + 2 * i - 2], ARGV[first + 2 * i - 1]
  end
  local stored = redis.call('HMGET', key, unpack(names))
  local fields, rest, size, is_new = {}, nil, nil, false
  for i = 1, count do
    local fits = true
    if stored[i] then
      numbers[i] = add(stored[i], numbers[i])
    else
      if not size then
        size = redis.call('HLEN', key)
        is_new = size == 0
      end
      fits = size < max_names
      size = size + 1
    end
    if fits then
      fields[#fields + 1] = names[i]
      fields[#fields + 1] = numbers[i]
    else
      rest = rest and add(rest, numbers[i]) or numbers[i]
    end
  end
  if rest then
    local before = redis.call('HGET', key, rest_name)
    fields[#fields + 1] = rest_name
    fields[#fields + 1] = before and add(before, rest) or rest
  end
  redis.call('HSET', key, unpack(fields))
  if is_new then
    redis.call('PEXPIRE', key, ttl)
  end
end

for k = FIRST_ROLLUP, #KEYS do
  local ttl, max_names, rest_name, count = unpack(ARGV, next_arg, next_arg + 3)
  add_to_rollup(KEYS[k], ttl, max_names + 0, rest_name, count + 0, next_arg + 4)
  next_arg = next_arg + 4 + count * 2
end
return requests
