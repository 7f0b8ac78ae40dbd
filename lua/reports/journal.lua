--[[ reports/journal: reads the totals and some lines of the journal.

  KEYS  1 totals  2 journal
  ARGV  1 how many lines  2 "newest", "older" or "newer"  3 the id to go on from, "" with "newest"
  Reply {requests, successes, failures, id, line…}: "newer" the oldest first, else the newest first
]]
local totals = redis.call('HMGET', KEYS[1], 'requests', 'successes', 'failures')
local reply = { tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0) }
local entries
if ARGV[2] == 'newer' then
  entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[3], '+', 'COUNT', ARGV[1])
else
  local from = ARGV[2] == 'older' and '(' .. ARGV[3] or '+'
  entries = redis.call('XREVRANGE', KEYS[2], from, '-', 'COUNT', ARGV[1])
end
for _, entry in ipairs(entries) do
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = entry[2][2]
end
return reply
