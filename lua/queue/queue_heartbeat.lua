--[[ queue/queue_heartbeat: says that a replica's waiting callers are still there. Tickets without a heartbeat are dropped.

  KEYS  1 meta  2-6 the wait queue (lib/queue_keys)
  ARGV  1 ms until a silent replica counts as dead  2… ids of its tickets
  Reply a list: 1 for each ticket that is there, 0 for each that was dropped
]]
--- @include "lib/pool_clock"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local META, QUEUE = 1, 2 -- KEYS
local ALIVE_MS, FIRST_ID = 1, 2 -- ARGV

local now, keys, is_there, beats = pool_clock(KEYS[META]), queue_keys(QUEUE), {}, {}
local dead_at = string.format('%d', now + ARGV[ALIVE_MS])
local tickets = #ARGV >= FIRST_ID and redis.call('HMGET', keys.tickets, unpack(ARGV, FIRST_ID)) or {}
for i = 1, #tickets do
  is_there[i] = tickets[i] and 1 or 0
  if tickets[i] then
    beats[#beats + 1] = dead_at
    beats[#beats + 1] = ARGV[FIRST_ID + i - 1]
  end
end
if beats[1] then
  redis.call('ZADD', keys.heartbeats, unpack(beats))
end
wait_queue().drop_expired_tickets(keys, now)
return is_there
