--[[ lib/sliding_sweep: a sliding window, sub-bucket by sub-bucket. ]]
--- @include "lib/window"
local function walk()
  --- Drops what has left a sliding window whose head is read, and recounts; `units_at` (if given) gets the live units by end
  --- instant.
  local function sweep(w, now, units_at)
    local flat = redis.call('HGETALL', w.key)
    local sum, dead, deads, alive = 0, nil, 0, false
    local gone = now - w.span - slack
    for i = 1, #flat, 2 do
      local stop = tonumber(flat[i])
      if stop then
        if stop <= gone then
          dead, deads = dead or {}, deads + 1
          dead[deads] = flat[i]
        else
          local units = flat[i + 1] + 0
          if units_at then
            units_at[stop] = units
          end
          sum, alive = sum + units, true
        end
      end
    end
    for i = 1, deads, 100 do
      redis.call('HDEL', w.key, unpack(dead, i, min(i + 99, deads)))
    end
    if w.heads and not alive then
      w.expires = 0 -- its key is no more
    end
    if w.newest <= gone then
      w.here = 0
    elseif w.here > 0 then
      sum = sum + w.here
      if units_at then
        units_at[w.newest] = w.here
      end
    end
    w.used, w.swept, w.nb = sum, now, 0
    if w.heads or flat[1] then
      write_head(w)
    end
  end

  --- The instant (ms) at which `excess` units have left the live fields of a sliding window, and how many are left to
  --- leave even then.
  local function leaves(w, units_at, excess)
    local ends, n = {}, 0
    for stop in pairs(units_at) do
      n = n + 1
      ends[n] = stop
    end
    table.sort(ends)
    for i = 1, n do
      excess = excess - units_at[ends[i]]
      if excess <= 0 then
        return ends[i] + w.span + slack, 0
      end
    end
    return n > 0 and ends[n] + w.span + slack or 0, excess
  end

  --- The same where it takes some of those who stand ahead, too: they come first, and have to leave again.
  local function leaves_later(w, excess)
    local opens = 0
    for _, one in ipairs(w.ahead and w.ahead(w.limit) or {}) do
      opens, excess = one[1] + w.span + slack + ceil(width(w.max, w.span)), excess - one[2]
      if excess <= 0 then
        break
      end
    end
    return opens
  end
  return { sweep = sweep, leaves = leaves, leaves_later = leaves_later }
end
