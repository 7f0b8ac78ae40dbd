--[[ lib/learned_limits: the limits that a provider has named, as fields of `health` keep them (lib/cooldown):
  limit=max@instant<origin>, separated by blanks. The origin is a letter: a = an answer named the limit; r = a refusal did;
  c = a refusal named none, and max is what the window had then: a ceiling. A ceiling is forgotten after a day, because no answer
  would ever raise it again.
]]
--- @include "lib/clock"
local CEILING_LASTS_MS = 86400000

--- Adds one field's learned limits to `learned`, a table of maxima by limit; nil while nothing was learned.
local function add_learned(learned, limits)
  if limits ~= '' then
    learned = learned or {}
    for limit, max_units, rest in string.gmatch(limits, '(%a+)=(%d+)(%S*)') do
      local ceiling_at = string.match(rest, '^@(%d+)c$')
      if not ceiling_at or redis_ms - ceiling_at < CEILING_LASTS_MS then
        learned[limit] = max_units + 0
      end
    end
  end
  return learned
end
