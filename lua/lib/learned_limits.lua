--[[ lib/learned_limits: the limits that a provider has named, as fields of `health` keep them (lib/cooldown). ]]

--- Adds one field's learned limits to `learned`, a table of maxima by limit; nil while nothing was learned.
local function add_learned(learned, limits)
  if limits ~= '' then
    learned = learned or {}
    for limit, max_units in string.gmatch(limits, '(%a+)=(%d+)') do
      learned[limit] = max_units + 0
    end
  end
  return learned
end
