--[[ lib/token_bucket: rules of token buckets (lib/window_kinds): capacity max, refill max/span.

  A hash: v = level, t = the instant from which the level drains, q = charged_total, x = when the key expires, by TIME.
]]
--- @include "lib/window"
local function token_bucket()
  local rules = { check = nil, charge = nil, correct = nil }

  function rules.check(w, now, ahead)
    local state = redis.call('HMGET', w.key, 'v', 't', 'q', 'x')
    local level, drains_from, rate = (state[1] or 0) + 0, (state[2] or now) + 0, w.max / w.span
    if now > drains_from then
      level = max(0, level - rate * (now - drains_from))
    end
    w.used, w.drains_from, w.charged_total, w.expires_at =
      level, drains_from, (state[3] or initial_total(now)) + 0, (state[4] or 0) + 0
    local excess = w.used + ahead + w.units - w.max
    if excess <= 1e-9 then
      return nil
    end
    return max(now, drains_from) + ceil(excess / rate)
  end

  --- A charge drains no earlier than arrival_slack after it was made, which is exact under any delay up to that. `now` is
  --- rounded down, so the charge was made up to 1 ms later. t is whole, so that differences of instants are exact.
  function rules.charge(w, now)
    local rate = w.max / w.span
    local drains_from = max(w.drains_from, now, ceil(now + 1 + arrival_slack - w.used / rate))
    w.used, w.charged_total = w.used + w.units, w.charged_total + w.units
    local empty_at = redis_ms + (drains_from - now) + w.used / rate + arrival_slack
    if w.expires_at < empty_at then
      w.expires_at = ceil(empty_at + w.span / 2)
      redis.call('HSET', w.key, 'v', w.used, 't', decimal(drains_from), 'q', decimal(w.charged_total), 'x',
        decimal(w.expires_at))
      redis.call('PEXPIRE', w.key, decimal(w.expires_at - redis_ms))
    else
      redis.call('HSET', w.key, 'v', w.used, 't', decimal(drains_from), 'q', decimal(w.charged_total))
    end
  end

  --- Gives back only what cannot have drained since the charge, whatever was charged in between. More units are always
  --- added: the level may exceed max.
  function rules.correct(w, now, delta, _, _, total_then)
    if delta > 0 then
      return add_spent(rules, w, now, delta)
    end
    w.units = 0
    rules.check(w, now, 0)
    local drained_at_most = w.max / w.span * (arrival_slack + 1)
    local charged_since = w.charged_total - total_then -- below 0 where TIME jumped meanwhile, and the bucket is another one
    local refund = charged_since < 0 and 0 or min(-delta, max(0, w.used - charged_since - drained_at_most))
    if refund > 0 then
      redis.call('HSET', w.key, 'v', w.used - refund, 't', decimal(max(w.drains_from, now)))
    end
  end

  return rules
end
