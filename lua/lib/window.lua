--[[ lib/window: what windows are, and how one is read from its specification.

  A window only ever holds what has left for its provider. Four kinds, by letter, each with rules of its own (lib/window_kinds):
  s sliding (m: one whose charges move to the instant of their settlement, for providers that debit when the answer
  ends), b bucket, c calendar, n concurrency.

  Every key expires soon after its state is worthless; q, all units ever charged, never loses a digit as text.
]]
--- @include "lib/clock"
local slack -- ms between an admission and its arrival at the provider: each script says it before it looks
local HEAD = '<dddddddd'
local KAPPA = 2000 -- a provider's calendar clock may differ from ours by this much, ms
local floor, ceil, max, min, format = math.floor, math.ceil, math.max, math.min, string.format
local rules_of -- the rules of a window's kind: lib/window_kinds

--- A whole number as Redis keeps it. Redis turns numbers into text itself, but three times slower.
local function text(number)
  return format('%d', number)
end

--- Where q of a new window starts: ahead of every elder's, so that a reborn window is never taken for it.
local function birth(now)
  return now % 1e12 * 100
end

--- Width of a sub-bucket in ms: an exact log up to 128 units, else 128 sub-buckets.
local function width(most, span)
  if most <= 128 then
    return 1
  end
  return span / 128
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

--- When a key has to expire, so that it lives as long as what is in it counts: as it would anyway, or later.
local function prolonged(expires, span)
  if expires < wall + span * 1.1 + slack then -- a sub-bucket is less than a tenth of the span
    return ceil(wall + span * 1.6 + slack)
  end
  return expires
end

--- Makes sure of it; says whether the key has to be told so.
local function prolong(at, span)
  local before = at.expires
  at.expires = prolonged(before, span)
  return at.expires ~= before
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

--- Adds units that are already spent (a stranger's, an answer longer than thought): never refused. Returns their place.
local function add(w, now, units)
  local rules = rules_of(w)
  w.units = 0
  rules.look(w, now, 0)
  if w.stale or w.kind == 'n' then
    return nil
  end
  w.units = units
  rules.charge(w, now)
  return w.place
end

--- Where a look that said yes would place w.units, and what the window would then hold: five numbers for the lease
--- (lib/lease), behind its first `n`. Returns how many it has now.
local function place(w, lease, n)
  local units = w.units
  if units == 0 then
    lease[n + 1], lease[n + 2], lease[n + 3], lease[n + 4], lease[n + 5] = -1, 0, 0, 0, 0
  else
    lease[n + 1], lease[n + 2], lease[n + 3], lease[n + 4] = w.place, w.two or 0, units, w.q + units
    lease[n + 5] = ceil(w.used + units)
  end
  return n + 5
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
local function windows(spec, first, learned, brief)
  local list, n = { nil, nil, nil, nil }, 0
  for limit, kind, most, span, units in string.gmatch(spec, '(%a+) (%a) (%d+) (%S+) (%-?%d+) ') do
    n = n + 1
    if brief and units == '-1' and not (kind == 'm' or kind == 'n') then
      list[n] = false
    else
      local w = new_window(limit, kind, most + 0, span, units + 0, KEYS[first + n - 1], nil)
      if learned and learned[limit] then
        w.config, w.max = w.max, learned[limit]
      end
      list[n] = w
    end
  end
  return list, n
end
