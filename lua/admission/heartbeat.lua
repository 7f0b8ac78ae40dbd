--[[ admission/heartbeat: a replica says that it is alive.

  KEYS  1 alive: sorted set, replica by the ms of its last beat; bounded by the replicas of the last minute, TTL 1 min
  ARGV  1 replica
  Reply how many have been heard of
]]
--- @include "lib/clock"
local now = clock(nil)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
return redis.call('ZCARD', KEYS[1])
