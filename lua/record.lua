--[[ record: finished requests of one replica, in batches: totals and the capped journal.

  KEYS  1 totals: hash requests, successes, failures; bounded  2 journal: stream, capped
  ARGV  1 most entries of the journal  2… two for each request: 1 = success, 0 = failure; its line (JSON)
  Reply how many were written
]]
local requests, successes = 0, 0
for i = 2, #ARGV, 2 do
  requests = requests + 1
  if ARGV[i] == '1' then
    successes = successes + 1
  end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'line', ARGV[i + 1])
end
redis.call('HINCRBY', KEYS[1], 'requests', requests)
redis.call('HINCRBY', KEYS[1], 'successes', successes)
redis.call('HINCRBY', KEYS[1], 'failures', requests - successes)
return requests
