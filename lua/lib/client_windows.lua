--[[ lib/client_windows: the windows of one client. Behind lib/window_kinds.

  The heads of its sliding windows stand in one hash, read and written together: <limit> = h; x = when it expires, by TIME.
]]
--- @include "lib/window"
--- @include "lib/lease"
--- Brings the heads of a client's windows that were written since to where they are kept.
local function write_heads(heads)
  if not heads or heads.n == 0 then
    return
  end
  local words, n = heads.words, heads.n
  local later = prolong(heads, heads.span)
  if later then
    words[n + 1], words[n + 2], n = 'x', text(heads.expires), n + 2
  end
  redis.call('HSET', heads.key, unpack(words, 1, n))
  if later then
    redis.call('PEXPIRE', heads.key, text(heads.expires - wall))
  end
  heads.n = 0
end

--- The windows of a client, how many they are, where the keys behind theirs begin, and their heads: KEYS[first] holds
--- these, then comes a key for each window; neither where there are none. They are swept more often than others, so that
--- what they say is left is what is left, but for a sixteenth of all. `brief`: false stands for those that the end of a call
--- leaves as they are (units -1); `plan` (lib/fast_charge): false for those whose charge could be planned.
local function windows_of_client(spec, first, brief, plan)
  if spec == '' then
    return {}, 0, first, nil
  end
  local read = redis.call('HMGET', KEYS[first], 'x', 'rpm', 'rpd', 'tpm', 'tpd')
  local heads = {
    key = KEYS[first], expires = (read[1] or 0) + 0, span = 0, n = 0,
    words = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil },
    rpm = read[2], rpd = read[3], tpm = read[4], tpd = read[5],
  }
  local list, n = { nil, nil, nil, nil, nil }, 0
  for limit, kind, most, span, units in string.gmatch(spec, '(%a+) (%a) (%d+) (%d+) (%-?%d+) ') do
    n = n + 1
    if brief and units == '-1' and kind ~= 'n' then
      list[n] = false
    else
      most, span, units = most + 0, span + 0, units + 0
      local head = heads[limit]
      if head ~= nil and span > heads.span then
        heads.span = span
      end
      if head and plan and plan(head, limit, most, span, units, KEYS[first + n], HEADS + EACH * (n - 1)) then
        list[n] = false
      else
        list[n] = new_window(limit, kind, most, span, units, KEYS[first + n], head ~= nil and heads or nil)
      end
    end
  end
  return list, n, first + 1 + n, heads
end
