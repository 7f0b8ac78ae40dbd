--[[ lib/sliding_sweep: reads a sliding window sub-bucket by sub-bucket: what has left it, and when enough will have left. ]]
--- @include "lib/window"
local function sliding_sweep()
  --- Deletes what has left a sliding window whose head has been read, and recounts it; `units_by_end`, where given, gets the
  --- live units by the end of their sub-bucket.
  local function sweep(w, now, units_by_end)
    local flat = redis.call('HGETALL', w.key)
    local sum, expired, live = 0, {}, false
    local gone = now - w.span - arrival_slack
    for i = 1, #flat, 2 do
      local stop = tonumber(flat[i])
      if stop and stop <= gone then
        expired[#expired + 1] = flat[i]
      elseif stop then
        local units = flat[i + 1] + 0
        if units_by_end then
          units_by_end[stop] = units
        end
        sum, live = sum + units, true
      end
    end
    for i = 1, #expired, 100 do
      redis.call('HDEL', w.key, unpack(expired, i, min(i + 99, #expired)))
    end
    if w.heads and not live then
      w.expires_at = 0 -- deleting the last field deleted the key
    end
    if w.newest_end <= gone then
      w.newest_units = 0
    elseif w.newest_units > 0 then
      sum = sum + w.newest_units
      if units_by_end then
        units_by_end[w.newest_end] = w.newest_units
      end
    end
    if sum ~= w.used then
      w.frees_at = 0
    end
    w.used, w.swept_at = sum, now
    if w.heads or flat[1] then
      write_head(w)
    end
  end

  --- The end of the sub-bucket with which `excess` of the live units will have left.
  local function freed_at(units_by_end, excess)
    local ends, n = {}, 0
    for stop in pairs(units_by_end) do
      n = n + 1
      ends[n] = stop
    end
    table.sort(ends)
    for i = 1, n do
      excess = excess - units_by_end[ends[i]]
      if excess <= 0 then
        return ends[i]
      end
    end
    return ends[n]
  end

  return { sweep = sweep, freed_at = freed_at }
end
