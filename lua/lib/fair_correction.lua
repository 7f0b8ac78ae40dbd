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
      local asked, got = slices.asked + w.units, slices.got + w.units
      slices.asked, slices.got = max(0, asked), max(0, got)
      -- What the present slice cannot give back is taken from the one before.
      slices.asked_before = max(0, slices.asked_before + min(0, asked))
      slices.got_before = max(0, slices.got_before + min(0, got))
      set_slices(demand, name, slices)
    end
  end
  write_demand(key, client, demand)
end
