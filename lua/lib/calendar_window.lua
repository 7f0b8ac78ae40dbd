--[[ lib/calendar_window: the rules of calendar windows (lib/window_kinds). A hash: <end of period, ms> = units; q. ]]
--- @include "lib/window"
local function calendar()
  --- The periods (named by their end) in which a charge at `at` counts: near a boundary both; nil out of range.
  local function periods(w, at)
    local start, stop, later = w.last, w.next, w.after
    if at >= stop then
      start, stop, later = w.next, w.after, nil
    end
    if at < start or at >= stop then
      return nil
    end
    if at >= stop - slack - KAPPA then
      if later then
        return stop, later
      end
      return nil
    end
    if at < start + KAPPA then
      return stop, start
    end
    return stop
  end

  local function look(w, now, extra)
    local one, two = periods(w, now)
    if not one then
      w.stale = true -- the replica must send later boundaries
      return now
    end
    local state = redis.call('HMGET', w.key, text(w.last), text(w.next), text(w.after), 'q')
    local used = { [w.last] = (state[1] or 0) + 0, [w.next] = (state[2] or 0) + 0, [w.after] = (state[3] or 0) + 0 }
    w.one, w.two, w.used, w.periods, w.q = one, two, used[one], used, tonumber(state[4] or birth(now))
    w.place = one
    local room = w.max - w.units - extra
    local function fits(first, second)
      return used[first] <= room and (not second or used[second] <= room)
    end
    if fits(one, two) then
      return nil
    end
    if two and two < one and used[one] <= room then
      return two + KAPPA -- only the period that has just ended is full
    end
    if one == w.next and used[w.after] <= room then
      return w.next + KAPPA
    end
    return w.after + KAPPA
  end

  local function charge(w, now)
    w.used, w.q = w.used + w.units, w.q + w.units
    if w.two then
      redis.call('HSET', w.key, text(w.one), text(w.used), text(w.two), text(w.periods[w.two] + w.units), 'q', text(w.q))
    else
      redis.call('HSET', w.key, text(w.one), text(w.used), 'q', text(w.q))
    end
    redis.call('PEXPIRE', w.key, text(w.after - now + 2 * 86400000))
  end

  local function correct(w, _, delta, place, also)
    for _, stop in ipairs({ place, also ~= 0 and also or nil }) do
      local units = redis.call('HGET', w.key, text(stop))
      if units then
        redis.call('HSET', w.key, text(stop), max(0, units + delta))
        redis.call('HINCRBY', w.key, 'q', max(0, delta))
      end
    end
  end
  return { look = look, charge = charge, correct = correct }
end
