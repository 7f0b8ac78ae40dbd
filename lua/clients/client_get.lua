--[[ clients/client_get: reads members' records, or one page of their ids.

  KEYS  1 meta  2 clients  3… m:<id> of the records to read; none: a page of ids
  ARGV  1 most ids  2 place of the last one on the page before, "+inf" on the first page
  Reply {now, eleven fields of each record}, false where there is none: v off exp rec d old oldx made rot rev used;
        or {now, how many members there are, id, place, …}, the newest first
]]
--- @include "lib/clock"
local now = clock(redis.call('HGET', KEYS[1], 't'))
local reply = { now }
if #KEYS == 2 then
  reply[2] = redis.call('ZCARD', KEYS[2])
  local page = redis.call('ZRANGE', KEYS[2], '(' .. ARGV[2], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
  for i = 1, #page do
    reply[2 + i] = page[i]
  end
end
for k = 3, #KEYS do
  local fields = redis.call('HMGET', KEYS[k], 'v', 'off', 'exp', 'rec', 'd', 'old', 'oldx', 'made', 'rot', 'rev', 'used')
  for i = 1, 11 do
    reply[#reply + 1] = fields[i]
  end
end
return reply
