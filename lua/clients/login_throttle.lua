--[[ clients/login_throttle: counts failed admin logins over all replicas, and blocks addresses with too many in the last minute.

  A blocked address is refused with the right key, too: otherwise it could go on guessing. Once there are too many failures
  over all addresses, one more blocks an address, which slows down guessing from many; an address without a failure is
  never blocked.

  KEYS  1 meta  2 guess:<address>: sorted set, failures of the last minute by their instant; TTL a minute
        3 guess: the same for all addresses; bounded
  ARGV  1 name of this failure, "" = only check  2 failures per address at most  3 over all addresses  4 the minute in ms
  Reply ms for which the address is still blocked; 0 = it is not
]]
--- @include "lib/time"
local OF_ADDRESS, OF_ALL = 2, 3 -- KEYS
local NAME, MAX_PER_ADDRESS, MAX_TOTAL, SPAN = 1, 2, 3, 4 -- ARGV

local now, span = wall_clock(), tonumber(ARGV[SPAN])
for k = OF_ADDRESS, OF_ALL do
  redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', now - span)
end
local is_flooded = redis.call('ZCARD', KEYS[OF_ALL]) >= tonumber(ARGV[MAX_TOTAL])
local allowed = is_flooded and 1 or tonumber(ARGV[MAX_PER_ADDRESS])
local failures = redis.call('ZCARD', KEYS[OF_ADDRESS])
if failures >= allowed then
  local decisive = redis.call('ZRANGE', KEYS[OF_ADDRESS], failures - allowed, failures - allowed, 'WITHSCORES')[2]
  return math.max(1, tonumber(decisive) + span - now)
end
if ARGV[NAME] ~= '' then
  redis.call('ZADD', KEYS[OF_ADDRESS], now, ARGV[NAME])
  redis.call('PEXPIRE', KEYS[OF_ADDRESS], span)
  if not is_flooded then
    redis.call('ZADD', KEYS[OF_ALL], now, KEYS[OF_ADDRESS] .. ' ' .. ARGV[NAME])
    redis.call('PEXPIRE', KEYS[OF_ALL], span)
  end
end
return 0
