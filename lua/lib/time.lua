--[[ lib/time: the only reader of TIME. What is a date goes by it: calendar windows, the expiry of client keys, timestamps; and so
  do the TTLs of keys. Tests replace this file to control time.
]]
local redis_ms -- TIME in ms

--- Reads TIME.
local function wall_clock()
  local time = redis.call('TIME')
  redis_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  return redis_ms
end
