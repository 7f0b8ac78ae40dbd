--[[ lib/fair_correction: corrects a client's demand when a call has used more or less than it was charged. ]]
--- @include "lib/fair_shares"
--- `list`: windows of the candidate, w.units = the correction of each; false for a window that stays as it is.
local function correct_demand(key, queue, model, list, now, client)
  local text = redis.call('HGET', key, client)
  if not text then
    return
  end
  local demand = parse_demand(text)
  for i = 1, #list do
    local w = list[i]
    if w and w.units ~= 0 and is_shared(w) then
      local name = share_name(w, queue, model)
      local slices = current_slices(demand, name, w, now)
      local requested, granted = slices.requested + w.units, slices.granted + w.units
      slices.requested, slices.granted = max(0, requested), max(0, granted)
      -- What the present slice cannot give back is taken from the one before.
      slices.requested_before = max(0, slices.requested_before + min(0, requested))
      slices.granted_before = max(0, slices.granted_before + min(0, granted))
      set_slices(demand, name, slices)
    end
  end
  write_demand(key, client, demand)
end
