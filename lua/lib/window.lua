--[[ lib/window: how many units of a window are taken, when more fit, and how a charge is placed.

  A window only ever holds what has left for its provider. Four kinds, by letter:

  s  sliding      hash: h = used, q, swept, expires, nb, nu, newest, here: an upper bound of what is live; all units ever
                  charged; last sweep; when the key expires, by TIME; "the oldest nu of used have left at nb"; end of
                  the newest sub-bucket and the units in it. <end of an older one, ms> = its units. (h comes first
                  in the hash and is all that a look reads: a field behind a hundred others costs Redis a walk. Its eight
                  numbers stand as they lie in memory, low byte first: as words they took a fifth of the script.) At
                  most `max` units in any (t - span, t] at the provider: a unit counts until span + slack after its
                  sub-bucket's end.
  m  sliding whose charges move to the instant of their settlement (providers that debit when the answer ends).
  b  bucket       hash: v = level, t = instant from which it drains, q, x. Capacity max, refill max/span.
  c  calendar     hash: <end of period, ms> = units; q.
  n  concurrency  sorted set: lease = deadline.

  Of a client's sliding windows the heads stand elsewhere, together (lib/quota). In their own hashes are the older
  sub-buckets alone, and expires says how long those live.

  Fields named by their end instant, not by an index, so that a changed limit (and with it the width of
  sub-buckets) misreads nothing. Every key expires soon after its state is worthless; q never loses a digit as text.
]]
local slack -- ms between an admission and its arrival at the provider: each script says it before it looks
local HEAD = '<dddddddd'
local KAPPA = 2000 -- a provider's calendar clock may differ from ours by this much, ms
local floor, ceil, max, min, format = math.floor, math.ceil, math.max, math.min, string.format

--- A whole number as Redis keeps it. Redis turns numbers into text itself, but three times slower.
local function text(number)
  return format('%d', number)
end

--- Where q of a new window starts: ahead of every elder's, so that a reborn window is never taken for it.
local function birth(now)
  return now % 1e12 * 100
end

--- Width of a sub-bucket in ms: an exact log up to 128 units, else 128 sub-buckets.
local function width(w)
  if w.max <= 128 then
    return 1
  end
  return w.span / 128
end

--- Reads the head of a sliding window into w.
local function read_head(w, now)
  local heads = w.heads
  local head = heads and heads[w.limit] or redis.call('HGET', w.key, 'h')
  if not head then
    -- New; or as gateways of before there was a head left it, with every sub-bucket in a field.
    local old = redis.call('HMGET', w.key, 's', 'q', 'w', 'x')
    w.used, w.q, w.swept, w.expires = (old[1] or 0) + 0, (old[2] or birth(now)) + 0, (old[3] or now) + 0, (old[4] or 0) + 0
    w.nb, w.nu, w.newest, w.here = 0, 0, 0, 0
    return
  end
  w.used, w.q, w.swept, w.expires, w.nb, w.nu, w.newest, w.here = struct.unpack(HEAD, head)
end

--- Makes sure that a key lives as long as what is in it counts; says whether it has to be told so.
local function prolong(at, span)
  local later = at.expires < wall + span * 1.1 + slack -- a sub-bucket is less than a tenth of the span
  if later then
    at.expires = ceil(wall + span * 1.6 + slack)
  end
  return later
end

--- The same for what was just written into a window's own key.
local function prolong_key(w)
  if prolong(w, w.span) then
    redis.call('PEXPIRE', w.key, text(w.expires - wall))
  end
end

--- Writes it back, with one older sub-bucket where one is named.
local function write_head(w, stop, units)
  local heads = w.heads
  if not heads then
    local head = struct.pack(HEAD, w.used, w.q, w.swept, w.expires, w.nb, w.nu, w.newest, w.here)
    if stop then
      redis.call('HSET', w.key, 'h', head, stop, text(units))
    else
      redis.call('HSET', w.key, 'h', head)
    end
    return
  end
  if stop then
    redis.call('HSET', w.key, stop, text(units))
    prolong_key(w)
  end
  local head = struct.pack(HEAD, w.used, w.q, w.swept, w.expires, w.nb, w.nu, w.newest, w.here)
  local words, n = heads.words, heads.n
  heads[w.limit], words[n + 1], words[n + 2], heads.n = head, w.limit, head, n + 2
end

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
    opens, excess = one[1] + w.span + slack + ceil(width(w)), excess - one[2]
    if excess <= 0 then
      break
    end
  end
  return opens
end

-- (Tables here name all they will hold, also what is nil at first: one that has to grow is made anew.)
local look = { s = nil, m = nil, b = nil, c = nil, n = nil }

--- Each look reads the window once, leaves what it read in `w` and returns nil where w.units fit (with `extra`
--- units of others in front), else the earliest instant they would: an estimate where the window is one of guesses.
function look.s(w, now, extra)
  local grain = width(w)
  read_head(w, now)
  w.place = ceil((floor(now / grain) + 1) * grain)
  local need = w.units + extra
  local since = now - w.swept
  if w.used > 0 and (since > w.span or w.heads and since > w.span / 16 and w.used * 16 > w.max) then
    sweep(w, now)
  end
  if w.used + need <= w.max then
    return nil
  end
  if now < w.nb and w.used + need - w.max == w.nu then
    return w.nb -- somebody has walked it already; what was charged since stands behind what must leave
  end
  local units = {}
  sweep(w, now, units)
  if w.used + need <= w.max then
    return nil
  end
  local excess = w.used + need - w.max
  local opens, left = leaves(w, units, excess)
  if left > 0 then
    return max(now + 1, opens, leaves_later(w, left))
  end
  w.nb, w.nu = opens, excess
  write_head(w)
  return opens
end

look.m = look.s

function look.b(w, now, extra)
  local state = redis.call('HMGET', w.key, 'v', 't', 'q', 'x')
  local level, from, rate = (state[1] or 0) + 0, (state[2] or now) + 0, w.max / w.span
  if now > from then
    level = max(0, level - rate * (now - from))
  end
  w.used, w.from, w.q, w.expires = level, from, (state[3] or birth(now)) + 0, (state[4] or 0) + 0
  local over = w.used + extra + w.units - w.max
  if over <= 1e-9 then
    return nil
  end
  return max(now, from) + ceil(over / rate)
end

--- The periods (named by their end) in which a charge at `at` counts: near a boundary both; nil out of range.
local function periods(w, at)
  local start, stop, later = w.last, w.next, w.after
  if at >= stop then
    start, stop, later = w.next, w.after, nil
  end
  if at < start or at >= stop then
    return nil
  end
  if at >= stop - slack - KAPPA then
    if later then
      return stop, later
    end
    return nil
  end
  if at < start + KAPPA then
    return stop, start
  end
  return stop
end

function look.c(w, now, extra)
  local one, two = periods(w, now)
  if not one then
    w.stale = true -- the replica must send later boundaries
    return now
  end
  local state = redis.call('HMGET', w.key, text(w.last), text(w.next), text(w.after), 'q')
  local used = { [w.last] = (state[1] or 0) + 0, [w.next] = (state[2] or 0) + 0, [w.after] = (state[3] or 0) + 0 }
  w.one, w.two, w.used, w.periods, w.q = one, two, used[one], used, tonumber(state[4] or birth(now))
  w.place = two and one .. ',' .. two or one
  local room = w.max - w.units - extra
  local function fits(first, second)
    return used[first] <= room and (not second or used[second] <= room)
  end
  if fits(one, two) then
    return nil
  end
  if two and two < one and used[one] <= room then
    return two + KAPPA -- only the period that has just ended is full
  end
  if one == w.next and used[w.after] <= room then
    return w.next + KAPPA
  end
  return w.after + KAPPA
end

function look.n(w, now, extra)
  redis.call('ZREMRANGEBYSCORE', w.key, '-inf', text(now))
  w.used = redis.call('ZCARD', w.key)
  if w.used + extra + w.units <= w.max then
    return nil
  end
  local first = redis.call('ZRANGE', w.key, 0, 0, 'WITHSCORES')
  return max(now + 1, tonumber(first[2] or now + 1))
end

--- Where a look that said yes would place w.units, and what the window would then hold, for the lease.
local function place(w)
  if w.units == 0 then
    return ' - 0 0 0'
  end
  return format(w.two and ' %s %d %d %d' or ' %d %d %d %d', w.place, w.units, w.q + w.units, ceil(w.used + w.units))
end

local charge = { s = nil, m = nil, b = nil, c = nil, n = nil }

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

--- Each charge places w.units after a look that said yes.
function charge.s(w)
  local later = not w.heads and prolong(w, w.span)
  put(w, w.place, w.units)
  if later then
    redis.call('PEXPIRE', w.key, text(w.expires - wall))
  end
end

charge.m = charge.s

--- A charge drains at the earliest `slack` after it was made: exact under any jitter up to it. `now` is cut to whole
--- ms, so it was made up to 1 later; t is whole too, so that e - t and what drains until e lose no digit.
function charge.b(w, now)
  local rate = w.max / w.span
  local from = max(w.from, now, ceil(now + 1 + slack - w.used / rate))
  w.used, w.q = w.used + w.units, w.q + w.units
  local worthless = wall + (from - now) + w.used / rate + slack
  if w.expires < worthless then
    w.expires = ceil(worthless + w.span / 2)
    redis.call('HSET', w.key, 'v', w.used, 't', text(from), 'q', text(w.q), 'x', text(w.expires))
    redis.call('PEXPIRE', w.key, text(w.expires - wall))
  else
    redis.call('HSET', w.key, 'v', w.used, 't', text(from), 'q', text(w.q))
  end
end

function charge.c(w, now)
  w.used, w.q = w.used + w.units, w.q + w.units
  if w.two then
    redis.call('HSET', w.key, text(w.one), text(w.used), text(w.two), text(w.periods[w.two] + w.units), 'q', text(w.q))
  else
    redis.call('HSET', w.key, text(w.one), text(w.used), 'q', text(w.q))
  end
  redis.call('PEXPIRE', w.key, text(w.after - now + 2 * 86400000))
end

function charge.n(w, now, lease, deadline)
  redis.call('ZADD', w.key, text(deadline), lease)
  redis.call('PEXPIRE', w.key, text(max(deadline - now, 1)))
end

--- Whether the instant at which it opens can only be guessed: it hangs on calls that are under way.
local function is_guess(w)
  return w.kind == 'm' or w.kind == 'n'
end

--- A window of each kind, with every field that a look sets.
local function new_window(limit, kind, most, span, units, key, heads)
  if kind == 's' or kind == 'm' then
    return {
      limit = limit, kind = kind, max = most, span = span + 0, units = units, key = key, heads = heads,
      used = 0, q = 0, swept = 0, expires = 0, nb = 0, nu = 0, newest = 0, here = 0, place = 0,
    }
  elseif kind == 'b' then
    return {
      limit = limit, kind = kind, max = most, span = span + 0, units = units, key = key,
      used = 0, q = 0, from = 0, expires = 0, place = 0,
    }
  elseif kind == 'n' then
    return { limit = limit, kind = kind, max = most, span = 0, units = units, key = key, used = 0, q = 0, place = 0 }
  end
  local last, next_one, after = string.match(span, '(%d+),(%d+),(%d+)')
  return {
    limit = limit, kind = kind, max = most, span = span, units = units, key = key, last = last + 0, next = next_one + 0,
    after = after + 0, used = 0, q = 0, one = 0, two = nil, periods = 0, place = 0,
  }
end

--- Reads the windows of one packed specification: "limit kind max span units " each, the limit in capitals where it spans
--- an account (a candidate can have both); a calendar's span is
--- "last,next,after". Keys stand in KEYS from `first` on; `learned` gives limits that override (by name). `brief`: false
--- stands for those that the end of a call leaves as they are (units -1).
local function windows(spec, first, learned, brief, heads)
  local list, n = { nil, nil, nil, nil }, 0
  for limit, kind, most, span, units in string.gmatch(spec, '(%a+) (%a) (%d+) (%S+) (%-?%d+) ') do
    n = n + 1
    if brief and units == '-1' and not (kind == 'm' or kind == 'n') then
      list[n] = false
    else
      local w = new_window(limit, kind, most + 0, span, units + 0, KEYS[first + n - 1], heads)
      if learned and learned[limit] then
        w.config, w.max = w.max, learned[limit]
      end
      list[n] = w
    end
  end
  return list, n
end
