--[[ lib/sliding_window: the rules of sliding windows (lib/window_kinds). At most `max` units in any (t - span, t] at the provider: a unit
  counts until span + slack after its sub-bucket's end.

  A hash: h = used, q, swept, expires, nb, nu, newest, here: an upper bound of what is live; all units ever charged; last
  sweep; when the key expires, by TIME; "the oldest nu of used have left at nb"; end of the newest sub-bucket and the
  units in it. <end of an older one, ms> = its units. (h comes first in the hash and is all that a look reads: a field
  behind a hundred others costs Redis a walk. Its eight numbers stand as they lie in memory, low byte first: as words they
  took a fifth of the script.)

  Of a client's sliding windows the heads stand elsewhere, together (lib/client_windows). In their own hashes are the older
  sub-buckets alone, and expires says how long those live.

  Fields are named by their end instant, not by an index, so that a changed limit (and with it the width of sub-buckets)
  misreads nothing.
]]
--- @include "lib/window"
--- @include "lib/sliding_sweep"
local function sliding()
  local function look(w, now, extra)
    local grain = width(w.max, w.span)
    read_head(w, now)
    w.place = ceil((floor(now / grain) + 1) * grain)
    local need = w.units + extra
    local since = now - w.swept
    if w.used > 0 and (since > w.span or w.heads and since > w.span / 16 and w.used * 16 > w.max) then
      walk().sweep(w, now)
    end
    if w.used + need <= w.max then
      return nil
    end
    if now < w.nb and w.used + need - w.max == w.nu then
      return w.nb -- somebody has walked it already; what was charged since stands behind what must leave
    end
    local units, walks = {}, walk()
    walks.sweep(w, now, units)
    if w.used + need <= w.max then
      return nil
    end
    local excess = w.used + need - w.max
    local opens, left = walks.leaves(w, units, excess)
    if left > 0 then
      return max(now + 1, opens, walks.leaves_later(w, left))
    end
    w.nb, w.nu = opens, excess
    write_head(w)
    return opens
  end

  --- Adds units to the sub-bucket that ends at `stop` of a sliding window whose head is read.
  local function put(w, stop, units)
    w.used, w.q = w.used + units, w.q + units
    if stop > w.newest then
      local older, before = w.newest, w.here
      w.newest, w.here = stop, units
      if before > 0 then
        return write_head(w, text(older), before)
      end
    elseif stop == w.newest then
      w.here = w.here + units
    else -- its sub-buckets have become finer
      redis.call('HINCRBY', w.key, text(stop), text(units))
      if w.heads then
        prolong_key(w)
      end
    end
    write_head(w)
  end

  local function charge(w)
    local later = not w.heads and prolong(w, w.span)
    put(w, w.place, w.units)
    if later then
      redis.call('PEXPIRE', w.key, text(w.expires - wall))
    end
  end

  --- One whose charges move is charged anew, at this instant; what nothing is known of any more, too.
  local function correct(w, now, delta, place, _, _, units)
    local moves = w.kind == 'm'
    if moves then
      delta = delta - units
    end
    read_head(w, now)
    local newest = place == w.newest
    local before = newest and w.here or not newest and redis.call('HGET', w.key, text(place))
    if before and place > now - w.span - slack then
      local after = max(0, before + delta)
      w.used, w.q, w.nb = max(0, w.used + delta), w.q + max(0, delta), 0
      if newest then
        w.here = after
        write_head(w)
      else
        write_head(w, text(place), after)
      end
    elseif delta > 0 then
      add(w, now, delta)
    end
    return moves and add(w, now, units) or nil
  end
  return { look = look, charge = charge, correct = correct }
end
