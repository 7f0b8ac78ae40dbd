--[[ lib/client_windows: the windows of one client.

  The heads of its sliding windows (lib/sliding_window) stand in one hash and are read and written together: <limit> = head;
  x = when the hash expires, by TIME.
]]
--- @include "lib/window"
--- Writes the heads that have changed since they were read.
local function write_client_heads(heads)
  if not heads or heads.count == 0 then
    return
  end
  local fields, n = heads.fields, heads.count
  local extended = extend_expiry(heads, heads.span)
  if extended then
    fields[n + 1] = 'x'
    fields[n + 2] = decimal(heads.expires_at)
    n = n + 2
  end
  redis.call('HSET', heads.key, unpack(fields, 1, n))
  if extended then
    redis.call('PEXPIRE', heads.key, decimal(heads.expires_at - redis_ms))
  end
  heads.count = 0
end

--- Parses a client's packed windows. KEYS[first_key] holds their heads, then comes a key for each window; no key where there
--- are no windows. `needed_only` as in parse_windows. Returns the windows, how many they are, the index of the key after
--- theirs, and their heads.
local function parse_client_windows(spec, first_key, needed_only)
  if spec == '' then
    return {}, 0, first_key, nil
  end
  local stored = redis.call('HMGET', KEYS[first_key], 'x', 'rpm', 'rpd', 'tpm', 'tpd')
  local heads = { key = KEYS[first_key], expires_at = (stored[1] or 0) + 0, span = 0, fields = {}, count = 0 }
  heads.by_limit = { rpm = stored[2], rpd = stored[3], tpm = stored[4], tpd = stored[5] }
  local list, n = {}, 0
  for limit, kind, max_units, span, units in string.gmatch(spec, '(%a+) (%a) (%d+) (%d+) (%-?%d+) ') do
    n = n + 1
    if needed_only and units == '-1' and kind ~= 'n' then
      list[n] = false
    else
      local shared = heads.by_limit[limit] ~= nil
      if shared then
        heads.span = max(heads.span, span + 0)
      end
      list[n] = new_window(limit, kind, max_units + 0, span, units + 0, KEYS[first_key + n], shared and heads or nil)
    end
  end
  return list, n, first_key + 1 + n, heads
end
