--[[ admission/heartbeat: says that a replica is alive, and finds out which provider keys are in force.

  KEYS  1 alive: sorted set, replica by the instant of its last heartbeat; those of the last minute; TTL 1 min
        2 pk: the provider keys (provider_keys/provider_key_write)
  ARGV  1 replica
  Reply {replicas that are alive, version of the provider keys}; the version is text
]]
--- @include "lib/time"
local REPLICAS, PROVIDER_KEYS = 1, 2 -- KEYS
local ALIVE_MS = 60000

local now = wall_clock()
redis.call('ZREMRANGEBYSCORE', KEYS[REPLICAS], '-inf', now - ALIVE_MS)
redis.call('ZADD', KEYS[REPLICAS], now, ARGV[1])
redis.call('PEXPIRE', KEYS[REPLICAS], ALIVE_MS)
return { redis.call('ZCARD', KEYS[REPLICAS]), redis.call('HGET', KEYS[PROVIDER_KEYS], 'v') or '0' }
