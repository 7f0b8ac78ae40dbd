--[[ lib/fair_shares: what each client asked for and got of a line's windows, and what is held back for those below their share.

  Only for sliding and bucket windows of a span up to an hour. One hash per line, in two slices of one span (the present
  and the previous): <client> = "weight last" then for each window "|name:slice asked asked_before got got_before";
  name = the limit, with "@model" where the line spans models and the window does not. "=" = "at" then for each window
  "|name:weights clients wants": of the active ones, and what all of them still want, refreshed when older than span/64. A
  client is active while it asked within the last two spans; nobody else's part is held back. Safety hangs on none of this.
]]
--- @include "lib/window"
local HOUR = 3600000

local function is_shared(w)
  return (w.kind == 's' or w.kind == 'b' or w.kind == 'm') and w.span <= HOUR
end

local function share_name(w, line, model)
  if string.sub(line, 1, 1) == 'a' and not string.find(w.limit, '^%u') then
    return w.limit .. '@' .. model
  end
  return w.limit
end

--- One client's line of the hash as { weight, last, names, [name] = { slice, asked, asked before, got, got before } }.
local function read_share(text)
  local weight, last = string.match(text, '^(%d+) (%d+)')
  local names = { nil, nil, nil, nil }
  local share = { weight = (weight or 1) + 0, last = (last or 0) + 0, names = names, rpm = nil, tpm = nil }
  for name, s, a, b, g, h in string.gmatch(text, '|([^:]+):(%d+) (%d+) (%d+) (%d+) (%d+)') do
    names[#names + 1] = name
    share[name] = { s + 0, a + 0, b + 0, g + 0, h + 0 }
  end
  return share
end

--- The slices of one window, rolled forward to now; a client that has not asked for two spans begins anew.
local function rolled(share, name, w, now)
  local slice = math.floor(now / w.span)
  local part = share[name]
  if not part or part[1] < slice - 1 then
    return { slice, 0, 0, 0, 0 }
  elseif part[1] == slice - 1 then
    return { slice, 0, part[2], 0, part[4] }
  end
  return part
end

local function note(share, name, part)
  if not share[name] then
    share.names[#share.names + 1] = name
  end
  share[name] = part
end

local function own_of(book)
  if not book.own then
    book.own = read_share(book.words)
  end
  return book.own
end

local function write_share(book, client)
  local own = book.own
  local words = format('%d %d', own.weight, own.last)
  for i = 1, #own.names do
    words = words .. format('|%s:%d %d %d %d %d', own.names[i], unpack(own[own.names[i]]))
  end
  redis.call('HSET', book.key, client, words)
end

--- What a call used instead of what it was charged: w.units more of each window that is there.
local function correct_share(key, line, model, list, now, client)
  local words = redis.call('HGET', key, client)
  if not words then
    return
  end
  local book = { key = key, own = read_share(words) }
  for i = 1, #list do
    local w = list[i]
    if w and w.units ~= 0 and is_shared(w) then
      local name = share_name(w, line, model)
      local part = rolled(book.own, name, w, now)
      for at = 2, 4, 2 do
        local present = math.max(0, part[at] + w.units)
        part[at + 1] = math.max(0, part[at + 1] + math.min(0, part[at] + w.units))
        part[at] = present
      end
      note(book.own, name, part)
    end
  end
  write_share(book, client)
end
