--[[ lib/token_bucket: the rules of buckets (lib/window_kinds): capacity max, refill max/span.

  A hash: v = level, t = instant from which it drains, q, x = when the key expires, by TIME.
]]
--- @include "lib/window"
local function bucket()
  local function look(w, now, extra)
    local state = redis.call('HMGET', w.key, 'v', 't', 'q', 'x')
    local level, from, rate = (state[1] or 0) + 0, (state[2] or now) + 0, w.max / w.span
    if now > from then
      level = max(0, level - rate * (now - from))
    end
    w.used, w.from, w.q, w.expires = level, from, (state[3] or birth(now)) + 0, (state[4] or 0) + 0
    local over = w.used + extra + w.units - w.max
    if over <= 1e-9 then
      return nil
    end
    return max(now, from) + ceil(over / rate)
  end

  --- A charge drains at the earliest `slack` after it was made: exact under any jitter up to it. `now` is cut to whole
  --- ms, so it was made up to 1 later; t is whole too, so that e - t and what drains until e lose no digit.
  local function charge(w, now)
    local rate = w.max / w.span
    local from = max(w.from, now, ceil(now + 1 + slack - w.used / rate))
    w.used, w.q = w.used + w.units, w.q + w.units
    local worthless = wall + (from - now) + w.used / rate + slack
    if w.expires < worthless then
      w.expires = ceil(worthless + w.span / 2)
      redis.call('HSET', w.key, 'v', w.used, 't', text(from), 'q', text(w.q), 'x', text(w.expires))
      redis.call('PEXPIRE', w.key, text(w.expires - wall))
    else
      redis.call('HSET', w.key, 'v', w.used, 't', text(from), 'q', text(w.q))
    end
  end

  --- Down: what cannot have drained since the charge, whatever came between. Up: always, the level may exceed max.
  local function correct(w, now, delta, _, _, q_then)
    if delta > 0 then
      return add(w, now, delta)
    end
    w.units = 0
    look(w, now, 0)
    local back = min(-delta, max(0, w.used - (w.q - q_then) - w.max / w.span * (slack + 1)))
    if back > 0 then
      redis.call('HSET', w.key, 'v', w.used - back, 't', text(max(w.from, now))) -- what it can have drained is in w.used
    end
  end
  return { look = look, charge = charge, correct = correct }
end
