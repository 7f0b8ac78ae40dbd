--[[ lib/breaker_update: how the outcome of an attempt changes a breaker. ]]
--- @include "lib/breaker"

--- Applies one verdict ("good", "failed" or "nothing") of a lease that reports for `generation`.
--- rules = { failures to open, successes to close, ms open }. Returns whether the breaker changed, and whether it is open.
local function update_breaker(health, field, value, generation, was_probe, verdict, rules, now)
  local failures_to_open, successes_to_close, open_ms = rules[1], rules[2], rules[3]
  local b = parse_breaker(value)
  if b.generation ~= generation then
    return false
  end
  if b.open_until == 0 then
    if verdict == 'failed' then
      b.failures = b.failures + 1
      if b.failures >= failures_to_open then
        b.generation, b.failures, b.successes = b.generation + 1, 0, 0
        b.probe_until, b.open_until = 0, now + open_ms
      end
    elseif verdict == 'good' and b.failures > 0 then
      b.failures = 0
    else
      return false
    end
  elseif was_probe then
    b.generation, b.probe_until = b.generation + 1, 0
    if verdict == 'failed' then
      b.successes, b.open_until = 0, now + open_ms
    elseif verdict == 'good' then
      b.successes = b.successes + 1
      if b.successes >= successes_to_close then
        b.open_until, b.successes, b.failures = 0, 0, 0
      end
    end
  else
    return false
  end
  write_breaker(health, field, b, now)
  return true, b.open_until > now
end
