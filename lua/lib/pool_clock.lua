--[[ lib/pool_clock: the clock of a pool (lib/clock) for scripts that read no other field of meta. ]]
--- @include "lib/clock"

--- The present instant of the pool in ms.
local function pool_clock(meta)
  return (clock(unpack(redis.call('HMGET', meta, 't', 'off', 'gap'))))
end
