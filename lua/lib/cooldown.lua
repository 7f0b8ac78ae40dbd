--[[ lib/cooldown: cooldowns and learned limits, fields of the hash `health` beside the breakers (lib/breaker).

  k:<provider>/<key>  cooldown of a provider key: "until cause|"
  m:<provider>/<account>/<model>, a:<provider>/<account>  cooldown and learned limits (lib/learned_limits): "until cause|limits"
]]
--- Of one field's value: until when its cooldown lasts (0 = none), its cause, and the learned limits.
local function parse_cooldown(value)
  if not value then
    return 0, '', ''
  end
  local cooldown_until, cause, limits = string.match(value, '^(%d+) ([^|]*)|(.*)$')
  return cooldown_until + 0, cause, limits
end

--- Whether an operator has withdrawn the provider key of this value of `k:…`. Nothing else ends such a cooldown.
local function is_withdrawn(value)
  local _, cause = parse_cooldown(value)
  return cause == 'withdrawn'
end
