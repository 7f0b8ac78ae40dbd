--[[ lib/correct: changes what a charge holds, long after it was placed. Behind lib/window. ]]
--- Adds units that are already spent (a stranger's, an answer longer than thought): never refused.
local function add(w, now, units)
  w.units = 0
  look[w.kind](w, now, 0)
  if w.stale or w.kind == 'n' then
    return nil
  end
  w.units = units
  charge[w.kind](w, now)
  return w.place
end

--- All units ever charged to a window, as it stands.
local function ever_charged(w, now)
  if w.kind == 's' or w.kind == 'm' then
    read_head(w, now)
    return w.q
  end
  return redis.call('HGET', w.key, 'q') or birth(now)
end

local correct = { s = nil, m = nil, b = nil, c = nil, n = nil }

--- Each correction changes the units of one charge by `delta`, given its place and the q of just after it.
function correct.s(w, now, delta, place)
  read_head(w, now)
  local newest = place + 0 == w.newest
  local units = newest and w.here or not newest and redis.call('HGET', w.key, place)
  if not units or place + 0 <= now - w.span - slack then
    if delta > 0 then
      add(w, now, delta)
    end
    return
  end
  units = max(0, units + delta)
  w.used, w.q, w.nb = max(0, w.used + delta), w.q + max(0, delta), 0
  if newest then
    w.here = units
    write_head(w)
  else
    write_head(w, place, units)
  end
end

--- Down: what cannot have drained since the charge, whatever came between. Up: always, the level may exceed max.
function correct.b(w, now, delta, _, q_then)
  if delta > 0 then
    return add(w, now, delta)
  end
  w.units = 0
  look.b(w, now, 0)
  local back = min(-delta, max(0, w.used - (w.q - q_then) - w.max / w.span * (slack + 1)))
  if back > 0 then
    redis.call('HSET', w.key, 'v', w.used - back, 't', text(max(w.from, now))) -- what it can have drained is in w.used
  end
end

function correct.c(w, _, delta, place)
  for stop in string.gmatch(place, '%d+') do
    local units = redis.call('HGET', w.key, stop)
    if units then
      redis.call('HSET', w.key, stop, max(0, units + delta))
      redis.call('HINCRBY', w.key, 'q', max(0, delta))
    end
  end
end

--- Takes a charge out of its place and charges `units` at this instant; returns the new place.
function correct.m(w, now, delta, place, _, units)
  correct.s(w, now, -(units - delta), place)
  return add(w, now, units)
end
