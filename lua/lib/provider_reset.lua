--[[ lib/provider_reset: closes the breakers of a provider and ends its cooldowns, but for keys that were withdrawn. Requires
  lib/breaker and lib/cooldown. ]]
--- keeps_limits: the limits that were learned stay.
local function reset_provider(health_key, provider, keeps_limits, now)
  local health = redis.call('HGETALL', health_key)
  for i = 1, #health, 2 do
    local field, value = health[i], health[i + 1]
    local kind, owner = string.match(field, '^(%a+):([^/]+)')
    if owner == provider and (kind == 'p' or kind == 'b') then
      local b = parse_breaker(value)
      b.generation, b.failures, b.successes, b.open_until, b.probe_until = b.generation + 1, 0, 0, 0, 0
      write_breaker(health_key, field, b, now)
    elseif owner == provider and not (kind == 'k' and is_withdrawn(value)) then
      local _, _, limits = parse_cooldown(value)
      if keeps_limits and limits ~= '' then
        redis.call('HSET', health_key, field, '0 |' .. limits)
      else
        redis.call('HDEL', health_key, field)
      end
    end
  end
end
