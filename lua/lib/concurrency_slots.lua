--[[ lib/concurrency_slots: the rules of concurrency (lib/window_kinds). A sorted set: lease = deadline. ]]
--- @include "lib/window"
local function slots()
  local function look(w, now, extra)
    redis.call('ZREMRANGEBYSCORE', w.key, '-inf', text(now))
    w.used = redis.call('ZCARD', w.key)
    if w.used + extra + w.units <= w.max then
      return nil
    end
    local first = redis.call('ZRANGE', w.key, 0, 0, 'WITHSCORES')
    return max(now + 1, tonumber(first[2] or now + 1))
  end

  local function charge(w, now, lease, deadline)
    redis.call('ZADD', w.key, text(deadline), lease)
    redis.call('PEXPIRE', w.key, text(max(deadline - now, 1)))
  end
  return { look = look, charge = charge }
end
