--[[ clients/client_get: reads clients' records, or one page of their ids.

  KEYS  1 meta  2 clients  3… m:<id> of the records to read (clients/client_write); none: a page of ids
  ARGV  1 ids at most  2 score of the last one on the page before, "+inf" on the first page
  Reply {now, twelve fields of each record}, false where one is missing: v off exp rec d old oldx made rot rev used olds;
        or {now, number of clients, id, score, …}, the newest first
]]
--- @include "lib/time"
local CLIENTS, FIRST_RECORD = 2, 3 -- KEYS
local COUNT, BEFORE = 1, 2 -- ARGV

local reply = { wall_clock() }
if #KEYS < FIRST_RECORD then
  reply[2] = redis.call('ZCARD', KEYS[CLIENTS])
  local page = redis.call('ZRANGE', KEYS[CLIENTS], '(' .. ARGV[BEFORE], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[COUNT],
    'WITHSCORES')
  for i = 1, #page do
    reply[2 + i] = page[i]
  end
end
for k = FIRST_RECORD, #KEYS do
  local fields = redis.call('HMGET', KEYS[k], 'v', 'off', 'exp', 'rec', 'd', 'old', 'oldx', 'made', 'rot', 'rev',
    'used', 'olds')
  for i = 1, #fields do
    reply[#reply + 1] = fields[i]
  end
end
return reply
