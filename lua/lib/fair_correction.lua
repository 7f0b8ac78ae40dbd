--[[ lib/fair_correction: corrects a client's demand when a call has used more or less than it was charged. ]]
--- @include "lib/fair_shares"
--- @include "lib/fair_sums"
--- `list`: windows of the candidate, w.units = the correction of each; false for a window that stays as it is.
local function correct_demand(key, queue, model, list, now, client)
  local stored = redis.call('HMGET', key, client, '=')
  if not stored[1] then
    return
  end
  local of_client, sums, has_changed = parse_demand(stored[1]), parse_sums(stored[2] or ''), false
  for i = 1, #list do
    local w = list[i]
    if w and w.units ~= 0 and is_shared(w) then
      local name = share_name(w, queue, model)
      local demand, sum = current_demand(of_client, name, w, now), sums[name]
      local was_active, before = is_active(demand), sum and claim(of_client, demand, w, now, sum.weights)
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
      if sum and is_active(demand) ~= was_active then
        local sign = was_active and -1 or 1
        sum.weights, sum.clients = max(0, sum.weights + sign * of_client.weight), max(0, sum.clients + sign)
        has_changed = true
      end
      if sum and adjust_unmet(sum, w, claim(of_client, demand, w, now, sum.weights) - before) then
        has_changed = true
      end
    end
  end
  if has_changed then
    redis.call('HSET', key, client, pack_demand(of_client), '=', pack_sums(sums))
  else
    redis.call('HSET', key, client, pack_demand(of_client))
  end
end
