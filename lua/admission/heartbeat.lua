--[[ admission/heartbeat: says that a replica is alive.

  KEYS  1 alive: sorted set, replica by the instant of its last heartbeat; those of the last minute; TTL 1 min
  ARGV  1 replica
  Reply how many replicas are alive
]]
--- @include "lib/clock"
local ALIVE_MS = 60000

local now = clock(nil)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ALIVE_MS)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ALIVE_MS)
return redis.call('ZCARD', KEYS[1])
