--[[ lib/fair_reserve: what is held back of a line's windows for clients below their share, and what each asked for and got. Behind
  lib/fair_demand. ]]
--- @include "lib/fair_shares"
--- @include "lib/fair_demand"
local counted
local function weigh()
  counted = counted or counting()
  return counted
end

--- Opens the book of one line for one client: { key, line, model, words, counts }; its own line is read when it decides.
local function open_book(key, line, model, client)
  local read = redis.call('HMGET', key, client, '=')
  return {
    key = key, line = line, model = model, words = read[1] or '', counts = read[2], sums = nil, own = nil, all = nil,
  }
end

--- Of all active clients of a window, not much older than span/64: { weights, clients, wants }.
local function sum_of(book, list, name, w, now)
  if book.counts and not book.sums then
    local sums = { at = string.match(book.counts, '^%d+') + 0, rpm = nil, tpm = nil, itpm = nil }
    for of, weights, clients, wants in string.gmatch(book.counts, '|([^:]+):(%d+) (%d+) (%d+)') do
      sums[of] = { weights + 0, clients + 0, wants + 0 }
    end
    book.sums = sums
  end
  local sums = book.sums
  if sums and sums[name] and now >= sums.at and now - sums.at <= w.span / 64 then
    return sums[name]
  end
  weigh().recount(book, list, now)
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
  return weigh().kept_for_others(book, name, sum, w, now, client, weight, flex, ahead, whose)
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
    weigh().recount(book, list, now) -- a new hash gets its life here
  end
  write_share(book, client)
end
