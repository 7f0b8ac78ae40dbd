--[[ lib/calendar_window: rules of calendar windows (lib/window_kinds). Near a boundary a charge counts in both periods, because
  the provider's clock may differ from ours.

  A hash: <end of a period, ms> = its units; q = charged_total. Periods go by TIME, the instants that the rules return by the
  clock of the pool.
]]
--- @include "lib/window"
local function calendar_window()
  local rules = { check = nil, charge = nil, correct = nil }

  --- Ends of the periods in which a charge made at `at` counts: two near a boundary, none where `at` is out of range.
  local function periods(w, at)
    local start, stop, later = w.last, w.next, w.after
    if at >= stop then
      start, stop, later = w.next, w.after, nil
    end
    if at < start or at >= stop then
      return nil
    end
    if at >= stop - arrival_slack - CALENDAR_SKEW_MS then
      if later then
        return stop, later
      end
      return nil
    end
    if at < start + CALENDAR_SKEW_MS then
      return stop, start
    end
    return stop
  end

  function rules.check(w, now, ahead)
    local first, second = periods(w, redis_ms)
    if not first then
      w.stale = true -- the replica must send later boundaries
      return now
    end
    local state = redis.call('HMGET', w.key, decimal(w.last), decimal(w.next), decimal(w.after), 'q')
    local used = { [w.last] = (state[1] or 0) + 0, [w.next] = (state[2] or 0) + 0, [w.after] = (state[3] or 0) + 0 }
    w.position, w.second_position, w.used, w.used_by_period = first, second, used[first], used
    w.charged_total = tonumber(state[4] or initial_total(now))
    local room = w.max - w.units - ahead
    if used[first] <= room and (not second or used[second] <= room) then
      return nil
    end
    if second and second < first and used[first] <= room then
      return second + CALENDAR_SKEW_MS + now - redis_ms -- only the period that has just ended is full
    end
    if first == w.next and used[w.after] <= room then
      return w.next + CALENDAR_SKEW_MS + now - redis_ms
    end
    return w.after + CALENDAR_SKEW_MS + now - redis_ms
  end

  function rules.charge(w)
    local second = w.second_position
    w.used, w.charged_total = w.used + w.units, w.charged_total + w.units
    if second then
      redis.call('HSET', w.key, decimal(w.position), decimal(w.used), decimal(second),
        decimal(w.used_by_period[second] + w.units), 'q', decimal(w.charged_total))
    else
      redis.call('HSET', w.key, decimal(w.position), decimal(w.used), 'q', decimal(w.charged_total))
    end
    redis.call('PEXPIRE', w.key, decimal(w.after - redis_ms + 2 * 86400000))
  end

  function rules.correct(w, _, delta, position, second_position)
    for _, stop in ipairs({ position, second_position ~= 0 and second_position or nil }) do
      local units = redis.call('HGET', w.key, decimal(stop))
      if units then
        redis.call('HSET', w.key, decimal(stop), max(0, units + delta))
        redis.call('HINCRBY', w.key, 'q', max(0, delta))
      end
    end
  end

  return rules
end
