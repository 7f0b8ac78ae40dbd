--[[ lib/quota: the windows of one client. Behind lib/window.

  The heads of its sliding windows stand in one hash, read and written together: <limit> = h; x = when it expires, by TIME.
]]
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
--- what they say is left is what is left, but for a sixteenth of all.
local function windows_of_client(spec, first, brief)
  if spec == '' then
    return {}, 0, first, nil
  end
  local heads = {
    key = KEYS[first], expires = 0, span = 0, words = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }, n = 0,
    rpm = nil, rpd = nil, tpm = nil, tpd = nil,
  }
  local list, count = windows(spec, first + 1, nil, brief, heads)
  local names, n = { 'x', nil, nil, nil, nil }, 1
  for i = 1, count do
    local w = list[i]
    if w and w.heads then
      n = n + 1
      names[n], heads.span = w.limit, max(heads.span, w.span)
    end
  end
  if n > 1 then
    local read = redis.call('HMGET', heads.key, unpack(names, 1, n))
    heads.expires = (read[1] or 0) + 0
    for i = 2, n do
      heads[names[i]] = read[i]
    end
  end
  return list, count, first + 1 + count, heads
end
