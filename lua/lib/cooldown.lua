--[[ lib/cooldown: cool-downs and learned limits: fields of the hash `health`, beside the breakers (lib/breaker).

  k:<provider>/<key>                   cool-down: "until cause|"
  m:<provider>/<account>/<model>, a:<provider>/<account>   cool-down and learned limits: "until cause|limit=max …"
]]
--- Until when it is shut (0 = not), why, and the learned limits, of one field's value.
local function read_shut(value)
  if not value then
    return 0, '', ''
  end
  local till, cause, limits = string.match(value, '^(%d+) ([^|]*)|(.*)$')
  return till + 0, cause, limits
end

--- Adds what one field has learned to { limit = max }; returns it, or nil where nothing is known.
local function learn(known, limits)
  if limits ~= '' then
    known = known or {}
    for limit, most in string.gmatch(limits, '(%a+)=(%d+)') do
      known[limit] = most + 0
    end
  end
  return known
end
