--[[ queue/queue_leave: deletes tickets whose callers have gone, or were answered otherwise.

  KEYS  1 meta  2-6 the wait queue (lib/queue_keys)
  ARGV  ids of tickets
  Reply how many there were
]]
--- @include "lib/pool_clock"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local META, QUEUE = 1, 2 -- KEYS

local now, keys, queue, left = pool_clock(KEYS[META]), queue_keys(QUEUE), wait_queue(), 0
for i = 1, #ARGV do
  if queue.leave_and_notify(keys, ARGV[i], now) then
    left = left + 1
  end
end
return left
