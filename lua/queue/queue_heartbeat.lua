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

local now, keys, is_there = pool_clock(KEYS[META]), queue_keys(QUEUE), {}
for i = FIRST_ID, #ARGV do
  local exists = redis.call('HEXISTS', keys.tickets, ARGV[i])
  if exists == 1 then
    redis.call('ZADD', keys.heartbeats, now + ARGV[ALIVE_MS], ARGV[i])
  end
  is_there[#is_there + 1] = exists
end
wait_queue().drop_expired_tickets(keys, now)
return is_there
