--[[ lib/clock: the clock of a pool, by which windows, breakers, cooldowns and the queue go.

  It is Redis TIME and an offset, which admission/sync corrects where TIME has jumped, so that this clock goes on at the speed
  of true time. It never goes back behind an instant that the pool has acted on. Where TIME is further from that instant than
  replicas let pass, nothing is admitted until `sync` knows why; what else happens meanwhile, such as a settlement after an
  outage of Redis, counts by TIME, but not more than a minute later than that instant.
]]
--- @include "lib/time"
local UNSURE_MS = 60000
local unsure_for_ms = 0 -- by this much the present instant may still be behind that of the correction

--- The present instant of the pool in ms, and whether TIME may have jumped. Fields of meta: `t`, the
--- latest instant the pool has acted on; `off`, the offset; `gap`, ms that may pass between two instants, none = any.
local function clock(last, offset, gap)
  local now = wall_clock() + (offset or 0)
  last = (last or 0) + 0
  if gap and gap ~= '' and math.abs(now - last) > gap + 0 then
    now = math.max(last, math.min(now, last + UNSURE_MS))
    unsure_for_ms = last + UNSURE_MS - now
    return now, true
  end
  return math.max(now, last), false
end
