--[[ reports/journal: reads the totals and some records of the journal.

  KEYS  1 totals  2 journal
  ARGV  1 records at most  2 "newest", "older" or "newer"  3 the id to continue from, "" with "newest"
  Reply {requests, successes, failures, id, record…}: "newer" the oldest first, else the newest first
]]
local TOTALS, JOURNAL = 1, 2 -- KEYS
local COUNT, DIRECTION, FROM = 1, 2, 3 -- ARGV

local totals = redis.call('HMGET', KEYS[TOTALS], 'requests', 'successes', 'failures')
local reply = { tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0) }
local entries
if ARGV[DIRECTION] == 'newer' then
  entries = redis.call('XRANGE', KEYS[JOURNAL], '(' .. ARGV[FROM], '+', 'COUNT', ARGV[COUNT])
else
  local from = ARGV[DIRECTION] == 'older' and '(' .. ARGV[FROM] or '+'
  entries = redis.call('XREVRANGE', KEYS[JOURNAL], from, '-', 'COUNT', ARGV[COUNT])
end
for _, entry in ipairs(entries) do
  local id, fields = entry[1], entry[2]
  reply[#reply + 1], reply[#reply + 2] = id, fields[2]
end
return reply
