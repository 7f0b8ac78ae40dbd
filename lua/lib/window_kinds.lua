--[[ lib/window_kinds: the rules of each kind of window. A function costs time each time it is made: these are when one of the kind
  is first met. Behind lib/window and its kinds.

  look(w, now, extra)  reads the window once, leaves what it read in `w` and returns nil where w.units fit (with `extra`
                       units of others in front), else the earliest instant they would: an estimate where the window is
                       one of guesses
  charge(w, now, lease, deadline)  places w.units after a look that said yes
  correct(w, now, delta, place, also, q, units)  changes the units of one charge by `delta` to `units`, long after it was
                       placed: given its place (a calendar's can be two) and the q of just after it. Returns the place
                       of what it charged anew. (Slots have none.)
]]
--- @include "lib/window"
--- @include "lib/sliding_window"
--- @include "lib/token_bucket"
--- @include "lib/calendar_window"
--- @include "lib/concurrency_slots"
local made = { s = nil, m = nil, b = nil, c = nil, n = nil }
rules_of = function(w)
  local rules = made[w.kind]
  if rules then
    return rules
  elseif w.kind == 'b' then
    rules = bucket()
  elseif w.kind == 'c' then
    rules = calendar()
  elseif w.kind == 'n' then
    rules = slots()
  else
    rules = sliding()
  end
  made[w.kind] = rules
  return rules
end
