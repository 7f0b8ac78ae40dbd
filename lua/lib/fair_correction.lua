--[[ lib/fair_correction: corrects a client's demand when a call has used more or less than it was charged. ]]
--- @include "lib/fair_shares"
--- `list`: windows of the candidate, w.units = the correction of each; false for a window that stays as it is.
local function correct_demand(key, queue, model, list, now, client)
  local text = redis.call('HGET', key, client)
  if not text then
    return
  end
  local of_client = parse_demand(text)
  for i = 1, #list do
    local w = list[i]
    if w and w.units ~= 0 and is_shared(w) then
      local name = share_name(w, queue, model)
      local demand = current_demand(of_client, name, w, now)
      local requested = demand.requested + w.units
      demand.requested = max(0, requested)
      -- What the present slice cannot give back is taken from the one before.
      demand.requested_before = max(0, demand.requested_before + min(0, requested))
      if w.units < 0 then
        take_granted(demand, -w.units)
      elseif demand.newest > 0 then
        demand.live, demand.newest = demand.live + w.units, demand.newest + w.units
      end
      set_demand(of_client, name, demand)
    end
  end
  write_demand(key, client, of_client)
end
