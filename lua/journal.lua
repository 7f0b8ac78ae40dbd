--[[ journal: reads the totals and the newest lines of the journal.

  KEYS  1 totals  2 journal
  ARGV  1 how many lines
  Reply {requests, successes, failures, line…}, newest first
]]
local totals = redis.call('HMGET', KEYS[1], 'requests', 'successes', 'failures')
local reply = { tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0) }
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[1])) do
  reply[#reply + 1] = entry[2][2]
end
return reply
