--[[ lib/sliding_window: rules of sliding windows (lib/window_kinds). At most `max` units in any (t - span, t] at the provider:
  a unit counts until span + arrival_slack after the end of its sub-bucket.

  A hash: h = the head, eight doubles, low byte first: used, an upper bound of the live units; charged_total; swept_at, the
  last sweep; expires_at, when the key expires by TIME; frees_at and freed_units: "the oldest freed_units of used will have
  left at frees_at"; newest_end and newest_units of the newest sub-bucket. <end of an older sub-bucket, ms> = its units.
  (The head is the first field and all that a check reads: a field behind a hundred others costs Redis a scan, and eight
  numbers as text took a fifth of the script.)

  The heads of a client's sliding windows stand together in another hash (lib/client_windows); a window's own hash then holds
  its older sub-buckets only, and expires_at is the expiry of that one.

  Sub-buckets are named by the instant of their end, not by an index, so a changed limit (and with it their width)
  misreads nothing.
]]
--- @include "lib/window"
--- @include "lib/sliding_sweep"
local function sliding_window()
  local rules = { check = nil, charge = nil, correct = nil }

  function rules.check(w, now, ahead)
    local width = sub_bucket_ms(w.max, w.span)
    read_head(w, now)
    w.position = ceil((floor(now / width) + 1) * width)
    local needed = w.units + ahead
    local unswept_ms = now - w.swept_at
    -- A client's own windows are swept more often: the remainder that its responses show is then at most a sixteenth off.
    if w.used > 0 and (unswept_ms > w.span or w.heads and unswept_ms > w.span / 16 and w.used * 16 > w.max) then
      sliding_sweep().sweep(w, now)
    end
    if w.used + needed <= w.max then
      return nil
    end
    if now < w.frees_at and w.used + needed - w.max == w.freed_units then
      return w.frees_at -- computed before; what was charged since leaves after what must leave
    end
    local units_by_end, sweeper = {}, sliding_sweep()
    sweeper.sweep(w, now, units_by_end)
    if w.used + needed <= w.max then
      return nil
    end
    local excess, later = w.used + needed - w.max, 0
    if excess > w.used then
      -- Units that are queued ahead must leave, too. Each is charged when `max` units less are in front of it.
      local spans = ceil((excess - w.used) / w.max)
      excess, later = excess - spans * w.max, spans * (w.span + arrival_slack + ceil(width))
    end
    local frees_at = excess > 0 and sweeper.freed_at(units_by_end, excess) + w.span + arrival_slack or now
    if later > 0 then
      return max(now + 1, frees_at + later)
    end
    -- The memo of fewer units stays: every request asks for those of the first one in a queue.
    if now >= w.frees_at or w.freed_units > excess then
      w.frees_at, w.freed_units = frees_at, excess
      write_head(w)
    end
    return frees_at
  end

  --- Adds units to the sub-bucket that ends at `stop`, in a window whose head has been read.
  local function put(w, stop, units)
    w.used, w.charged_total = w.used + units, w.charged_total + units
    if stop > w.newest_end then
      local older_end, older_units = w.newest_end, w.newest_units
      w.newest_end, w.newest_units = stop, units
      if older_units > 0 then
        return write_head(w, decimal(older_end), older_units)
      end
    elseif stop == w.newest_end then
      w.newest_units = w.newest_units + units
    else -- sub-buckets have become narrower
      redis.call('HINCRBY', w.key, decimal(stop), decimal(units))
      if w.heads then
        extend_key(w)
      end
    end
    write_head(w)
  end

  function rules.charge(w)
    local extended = not w.heads and extend_expiry(w, w.span)
    put(w, w.position, w.units)
    if extended then
      redis.call('PEXPIRE', w.key, decimal(w.expires_at - redis_ms))
    end
  end

  --- A charge that moves is made again at this instant; so is one whose sub-bucket is no longer there.
  function rules.correct(w, now, delta, position, _, _, units)
    local moves = w.kind == 'm'
    if moves then
      delta = delta - units
    end
    read_head(w, now)
    local is_newest = position == w.newest_end
    local before = is_newest and w.newest_units or not is_newest and redis.call('HGET', w.key, decimal(position))
    if before and position > now - w.span - arrival_slack then
      local after = max(0, before + delta)
      w.used, w.charged_total, w.frees_at = max(0, w.used + delta), w.charged_total + max(0, delta), 0
      if is_newest then
        w.newest_units = after
        write_head(w)
      else
        write_head(w, decimal(position), after)
      end
    elseif delta > 0 then
      add_spent(rules, w, now, delta)
    end
    return moves and add_spent(rules, w, now, units) or nil
  end

  return rules
end
