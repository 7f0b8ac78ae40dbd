--[[ clients/login_throttle: wrong admin keys, counted over the fleet. An address that showed too many in the last minute is not listened
  to: its right key, too, for else it could go on guessing. While the fleet sees too many of them, one is too many: that
  slows down whoever guesses from many addresses, and an address that has shown no wrong key is always listened to.

  KEYS  1 meta  2 guess:<address>: sorted set, attempts of the last minute by their instant; TTL a minute
        3 guess: the same of all addresses; bounded
  ARGV  1 name of this attempt, "" = only look  2 most of an address  3 most of all  4 the minute, ms
  Reply ms until this address is listened to again; 0 = now
]]
--- @include "lib/clock"
local now, span = clock(redis.call('HGET', KEYS[1], 't')), tonumber(ARGV[4])
local all, most = tonumber(ARGV[3]), tonumber(ARGV[2])
for k = 2, 3 do
  redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', now - span)
end
local seen = redis.call('ZCARD', KEYS[3])
if seen >= all then
  most = 1
end
local own = redis.call('ZCARD', KEYS[2])
if own >= most then
  local opens = redis.call('ZRANGE', KEYS[2], own - most, own - most, 'WITHSCORES')[2]
  return math.max(1, tonumber(opens) + span - now)
end
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[2], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[2], span)
  if seen < all then
    redis.call('ZADD', KEYS[3], now, KEYS[2] .. ' ' .. ARGV[1])
    redis.call('PEXPIRE', KEYS[3], span)
  end
end
return 0
