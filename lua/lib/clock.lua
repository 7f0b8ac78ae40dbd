--[[ lib/clock: the clock of a pool.

  Redis TIME in ms, but never earlier than an instant the pool has already acted on: a failover or a corrected clock may
  step back, a window must not. This is the only reader of TIME; tests replace this file to control time.
]]
local redis_ms -- TIME itself, set by `clock`: keys expire by it, even while the pool's clock stands still

--- The present instant in ms; `last` is the latest instant the pool has acted on (a string, a number, or false).
local function clock(last)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis_ms, last = now, tonumber(last or 0)
  if last > now then
    return last
  end
  return now
end
