--[[ lib/concurrency_slots: rules of concurrency limits (lib/window_kinds).

  A sorted set: <lease id> = the instant at which its slot is taken back, unless the lease is renewed.
]]
--- @include "lib/window"
local function concurrency_slots()
  local rules = { check = nil, charge = nil }

  function rules.check(w, now, ahead)
    redis.call('ZREMRANGEBYSCORE', w.key, '-inf', decimal(now))
    w.used = redis.call('ZCARD', w.key)
    if w.used + ahead + w.units <= w.max then
      return nil
    end
    local first = redis.call('ZRANGE', w.key, 0, 0, 'WITHSCORES')
    return max(now + 1, tonumber(first[2] or now + 1))
  end

  function rules.charge(w, now, lease, deadline)
    redis.call('ZADD', w.key, decimal(deadline), lease)
    redis.call('PEXPIRE', w.key, decimal(max(deadline - now, 1)))
  end

  return rules
end
