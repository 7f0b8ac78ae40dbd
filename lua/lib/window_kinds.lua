--[[ lib/window_kinds: the rules of each kind of window.

  check(w, now, ahead)  reads the window once into `w`. Returns nil where w.units fit (with `ahead` units of others in
                        front), else the earliest instant at which they will: an estimate where is_estimate(w)
  charge(w, now, lease, deadline)  charges w.units, after a check that returned nil
  correct(w, now, delta, position, second_position, charged_total, units)  changes one charge by `delta` to `units`, long
                        after it was made: given its position (in a calendar window it can have two) and the
                        charged_total of just after it. Returns the position of what it charged again. (Not for slots.)
]]
--- @include "lib/sliding_window"
--- @include "lib/token_bucket"
--- @include "lib/calendar_window"
--- @include "lib/concurrency_slots"
local rules_by_kind = {}

--- The rules of a window's kind. They are made when the first window of the kind is met: Redis runs the whole text at
--- each call, and creating the functions of all kinds took `admit` 10 µs out of 60.
local function rules_of(w)
  local kind = w.kind
  local rules = rules_by_kind[kind]
  if not rules then
    if kind == 'b' then
      rules = token_bucket()
    elseif kind == 'c' then
      rules = calendar_window()
    elseif kind == 'n' then
      rules = concurrency_slots()
    else
      rules = sliding_window()
    end
    rules_by_kind[kind] = rules
  end
  return rules
end
