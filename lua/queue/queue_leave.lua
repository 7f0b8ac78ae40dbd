--[[ queue/queue_leave: a caller that waits in line has gone, or its answer came another way: its place is given back.

  KEYS  1 meta  2-6 the waiting room
  ARGV  1… ids of tickets
  Reply how many there were
]]
--- @include "lib/clock"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local now, room, left = clock(redis.call('HGET', KEYS[1], 't')), waiting_room(2), 0
local hall = waiting()
for i = 1, #ARGV do
  local line = hall.leave(room, ARGV[i])
  if line then
    left = left + 1
    hall.knock_first(room, line, now)
  end
end
return left
