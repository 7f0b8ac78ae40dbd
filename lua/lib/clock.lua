--[[ lib/clock: the one clock of a pool.

  Redis TIME in ms, and never before an instant the pool has already acted on: a failover or a corrected clock may
  step back, a window must not. Tests put another `clock` in front, so that time moves only when told.
]]
local wall -- TIME itself, ms: by it keys live, even while the pool's clock stands still

--- Now in ms; `last` is the latest instant the pool has acted on (a string, a number, or false).
local function clock(last)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  wall, last = now, tonumber(last or 0)
  if last > now then
    return last
  end
  return now
end
