--[[ lib/shares: what each client asked for and got of a line's windows, and what is held back for those below their share.

  Only for sliding and bucket windows of a span up to an hour. One hash per line, in two slices of one span (the present
  and the previous): <client> = "weight last" then for each window "|name:slice asked asked_before got got_before";
  name = the limit, with "@model" where the line spans models and the window does not. "=" = "at" then for each window
  "|name:weights clients wants": of the active ones, and what all of them still want, refreshed when older than span/64. A client is active while it asked
  within the last two spans; nobody else's part is held back. Safety hangs on none of this.
]]
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

--- What a client got within about the last span.
local function got_of(part, w, now)
  return part[4] + part[5] * (1 - now % w.span / w.span)
end

--- What a client still wants of its share: what it asked within about the last span, less what it got. (Both weighed
--- alike, so that who stops asking lets go at once of what it had been served.)
local function want_of(part, w, now, share)
  local asked = part[2] + part[3] * (1 - now % w.span / w.span)
  return math.min(share, 1.03 * asked) - got_of(part, w, now)
end

--- Everybody's shares of a line, read once per run.
local function everybody(book)
  if not book.all then
    local flat = redis.call('HGETALL', book.key)
    book.all = {}
    for i = 1, #flat, 2 do
      if flat[i] ~= '=' then
        book.all[flat[i]] = read_share(flat[i + 1])
      end
    end
  end
  return book.all
end

--- Counts the active anew, and drops who has asked nothing for long.
local function recount(book, list, now)
  local all, words, longest = everybody(book), { text(now) }, 0
  for i = 1, #list do
    local w = list[i]
    if is_shared(w) then
      local name, weights, clients, wants, active = share_name(w, book.line, book.model), 0, 0, 0, {}
      for _, share in pairs(all) do
        local part = rolled(share, name, w, now)
        if part[2] + part[3] > 0 then
          weights, clients = weights + share.weight, clients + 1
          active[clients] = { part, share.weight }
        end
      end
      for j = 1, clients do
        wants = wants + math.max(0, want_of(active[j][1], w, now, w.max * active[j][2] / weights))
      end
      words[#words + 1] = format('%s:%d %d %d', name, weights, clients, wants + 0.5)
      longest = math.max(longest, w.span)
    end
  end
  if string.sub(book.line, 1, 1) == 'a' then
    longest = HOUR -- of an account's windows this run sees one model's only
  end
  for client, share in pairs(all) do
    if share.last < now - 2 * longest then
      redis.call('HDEL', book.key, client)
    end
  end
  book.counts, book.sums = table.concat(words, '|'), nil
  redis.call('HSET', book.key, '=', book.counts)
  redis.call('PEXPIRE', book.key, text(3 * longest))
end

--- Opens the book of one line for one client: { key, line, model, words, counts }; its own line is read when it decides.
local function open_book(key, line, model, client)
  local read = redis.call('HMGET', key, client, '=')
  return {
    key = key, line = line, model = model, words = read[1] or '', counts = read[2], sums = nil, own = nil, all = nil,
  }
end

local function own_of(book)
  if not book.own then
    book.own = read_share(book.words)
  end
  return book.own
end

--- Of all active clients of a window, not much older than span/64: { weights, clients, wants }.
local function sum_of(book, list, name, w, now)
  if book.counts and not book.sums then
    local sums = { at = string.match(book.counts, '^%d+') + 0 }
    for of, weights, clients, wants in string.gmatch(book.counts, '|([^:]+):(%d+) (%d+) (%d+)') do
      sums[of] = { weights + 0, clients + 0, wants + 0 }
    end
    book.sums = sums
  end
  local sums = book.sums
  if sums and sums[name] and now >= sums.at and now - sums.at <= w.span / 64 then
    return sums[name]
  end
  recount(book, list, now)
  return sum_of(book, list, name, w, now)
end

--- Units of a window that are kept for clients below their share, against this client's request of w.units; 0 where
--- nothing hangs on it. `ahead` of it stand so many units, `whose[client][limit]` of each; flexible work counts as above
--- its share.
local function held_back(book, list, w, now, client, weight, flex, ahead, whose)
  local name = share_name(w, book.line, book.model)
  local sum = sum_of(book, list, name, w, now)
  if w.used + w.units + ahead + sum[3] <= w.max then
    return 0 -- there is room even if all of them came now
  end
  local part, weights, clients = rolled(own_of(book), name, w, now), sum[1], sum[2]
  if part[2] + part[3] == 0 then
    weights, clients = weights + weight, clients + 1
  end
  if clients <= 1 then
    return 0
  end
  local got = got_of(part, w, now)
  if not flex and (got == 0 or got + w.units <= w.max * weight / weights) then
    return 0
  end
  local kept = 0
  if not whose then
    kept = sum[3] - math.max(0, want_of(part, w, now, w.max * weight / weights)) -- a hundred clients are not read for it
  else
    for other, share in pairs(everybody(book)) do
      if other ~= client then
        local theirs = rolled(share, name, w, now)
        if theirs[2] + theirs[3] > 0 then
          local mine = whose[other] and whose[other][w.limit] or 0
          kept = kept + math.max(0, want_of(theirs, w, now, w.max * share.weight / weights) - mine)
        end
      end
    end
  end
  return math.max(0, math.min(math.floor(kept + 1e-6), w.max - w.units - ahead))
end

local function write_share(book, client)
  local own = book.own
  local words = format('%d %d', own.weight, own.last)
  for i = 1, #own.names do
    words = words .. format('|%s:%d %d %d %d %d', own.names[i], unpack(own[own.names[i]]))
  end
  redis.call('HSET', book.key, client, words)
end

--- Notes what a client asked for and got: `asked`, `got` = 1 or 0 times the units of each shared window.
local function book_units(book, list, now, client, weight, asked, got)
  local own
  for i = 1, #list do
    local w = list[i]
    if w.units > 0 and is_shared(w) then
      own = own_of(book)
      local name = share_name(w, book.line, book.model)
      local part = rolled(own, name, w, now)
      part[2], part[4] = part[2] + asked * w.units, part[4] + got * w.units
      note(own, name, part)
    end
  end
  if not own then
    return
  end
  own.weight, own.last = weight, now
  if not book.counts then
    recount(book, list, now) -- a new hash gets its life here
  end
  write_share(book, client)
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
