--[[ lib/window: what a window is, and how a script reads windows from their specification.

  A window holds only charges of admitted requests; requests that wait reserve nothing in it. A letter names its kind, and
  each kind has its own rules (lib/window_kinds):

  s sliding; m sliding for a provider that debits when the answer ends: a charge moves to the instant of its settlement;
  b token bucket; c calendar; n concurrency

  Fields of a window object: limit, kind, max, span (ms), units (of this request), key, and what its rules read from
  Redis: `used` units, `charged_total` (all units ever charged; as text it never loses a digit), `position` (where a charge
  made now would stand). Every key expires soon after its content has become worthless.
]]
--- @include "lib/clock"
local arrival_slack -- ms within which an admitted request reaches its provider; each script sets it before it checks a window
local CALENDAR_SKEW_MS = 2000 -- a provider's calendar clock may differ from ours by this much
local HEAD_FORMAT = '<dddddddd'
local floor, ceil, max, min, format = math.floor, math.ceil, math.max, math.min, string.format

--- A whole number as text. Redis converts numbers itself, but takes three times as long.
local function decimal(number)
  return format('%d', number)
end

--- Where `charged_total` of a new window starts: above that of every earlier one, so that a window which expired and came
--- back is never mistaken for the one before it.
local function initial_total(now)
  return (now + unsure_for_ms) % 1e12 * 100
end

--- Width of a sliding window's sub-buckets in ms: 1 (an exact log) up to 128 units, else a 128th of the span.
local function sub_bucket_ms(max_units, span)
  if max_units <= 128 then
    return 1
  end
  return span / 128
end

--- Reads the head of a sliding window (lib/sliding_window) into the window.
local function read_head(w, now)
  local heads = w.heads
  local head = heads and heads.by_limit[w.limit] or not heads and redis.call('HGET', w.key, 'h')
  if head then
    w.used, w.charged_total, w.swept_at, w.expires_at, w.frees_at, w.freed_units, w.newest_end, w.newest_units =
      struct.unpack(HEAD_FORMAT, head)
  else
    w.used, w.charged_total, w.swept_at, w.expires_at = 0, initial_total(now), now, 0
    w.frees_at, w.freed_units, w.newest_end, w.newest_units = 0, 0, 0, 0
  end
end

--- Moves `expires_at` of a window or of shared heads so far ahead that the key outlives its content. Returns whether the
--- key needs the new expiry. A sub-bucket is less than a tenth of the span.
local function extend_expiry(record, span)
  if record.expires_at >= redis_ms + span * 1.1 + arrival_slack then
    return false
  end
  record.expires_at = ceil(redis_ms + span * 1.6 + arrival_slack)
  return true
end

--- Extends the expiry of a window's own key, before or after a write to it.
local function extend_key(w)
  if extend_expiry(w, w.span) then
    redis.call('PEXPIRE', w.key, decimal(w.expires_at - redis_ms))
  end
end

--- Writes the head of a sliding window, together with one older sub-bucket where its end is given. Shared heads are
--- collected, and written by write_client_heads (lib/client_windows).
local function write_head(w, older_end, older_units)
  local heads = w.heads
  if heads and older_end then
    redis.call('HSET', w.key, older_end, decimal(older_units))
    extend_key(w)
  end
  local head = struct.pack(HEAD_FORMAT, w.used, w.charged_total, w.swept_at, w.expires_at, w.frees_at, w.freed_units,
    w.newest_end, w.newest_units)
  if heads then
    local fields, n = heads.fields, heads.count
    heads.by_limit[w.limit], heads.count = head, n + 2
    fields[n + 1] = w.limit
    fields[n + 2] = head
  elseif older_end then
    redis.call('HSET', w.key, 'h', head, older_end, decimal(older_units))
  else
    redis.call('HSET', w.key, 'h', head)
  end
end

--- Adds units that are already spent (by another user of the account, or an answer longer than its reserve): never refused.
--- Returns the position of their charge, if there is one.
local function add_spent(rules, w, now, units)
  w.units = 0
  rules.check(w, now, 0)
  if w.stale or w.kind == 'n' then
    return nil
  end
  w.units = units
  rules.charge(w, now)
  return w.position
end

--- Whether the instant at which it opens is an estimate: it depends on calls that are still running.
local function is_estimate(w)
  return w.kind == 'm' or w.kind == 'n'
end

--- A window object. All fields that its rules set later are there from the start: a table that grows is copied.
local function new_window(limit, kind, max_units, span, units, key, heads)
  if kind == 's' or kind == 'm' then
    return {
      limit = limit, kind = kind, max = max_units, span = span + 0, units = units, key = key, heads = heads, used = 0,
      charged_total = 0, swept_at = 0, expires_at = 0, frees_at = 0, freed_units = 0, newest_end = 0, newest_units = 0,
      position = 0,
    }
  elseif kind == 'b' then
    return {
      limit = limit, kind = kind, max = max_units, span = span + 0, units = units, key = key, used = 0, charged_total = 0,
      drains_from = 0, expires_at = 0, position = 0,
    }
  elseif kind == 'n' then
    return {
      limit = limit, kind = kind, max = max_units, span = 0, units = units, key = key, used = 0, charged_total = 0, position = 0,
    }
  end
  local last, next_one, after = string.match(span, '(%d+),(%d+),(%d+)')
  return {
    limit = limit, kind = kind, max = max_units, span = span, units = units, key = key, last = last + 0, next = next_one + 0,
    after = after + 0, used = 0, charged_total = 0, position = 0, second_position = nil, used_by_period = nil,
  }
end

--- Parses packed windows: "limit kind max span units " each, the limit in capitals where it spans an account (a candidate
--- can have both); the span of a calendar window is "last,next,after", its nearest boundaries. Their keys begin at
--- KEYS[first_key]. `learned`: limits by name that override. `needed_only`: false stands for a window whose charge the end
--- of a call leaves as it is (units -1).
local function parse_windows(spec, first_key, learned, needed_only)
  local list, n = {}, 0
  for limit, kind, max_units, span, units in string.gmatch(spec, '(%a+) (%a) (%d+) (%S+) (%-?%d+) ') do
    n = n + 1
    if needed_only and units == '-1' and not (kind == 'm' or kind == 'n') then
      list[n] = false
    else
      local w = new_window(limit, kind, max_units + 0, span, units + 0, KEYS[first_key + n - 1], nil)
      if learned and learned[limit] then
        w.configured_max, w.max = w.max, learned[limit]
      end
      list[n] = w
    end
  end
  return list, n
end
