--[[ queue/queue_heartbeat: a replica's callers in line are still there. Whoever's replica says so no more is dropped with its place.

  KEYS  1 meta  2-6 the waiting room
  ARGV  1 ms until a silent replica is taken for dead  2… ids of its tickets
  Reply a list: 1 for each ticket that is there, 0 for each that was dropped
]]
--- @include "lib/clock"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local now, room, there = clock(redis.call('HGET', KEYS[1], 't')), waiting_room(2), {}
for i = 2, #ARGV do
  local known = redis.call('HEXISTS', room.tickets, ARGV[i])
  if known == 1 then
    redis.call('ZADD', room.alive, now + ARGV[1], ARGV[i])
  end
  there[i - 1] = known
end
waiting().bury(room, now)
return there
