--[[ lib/fair_demand: the shares of all clients of a line, weighed against each other. Behind lib/fair_shares. ]]
--- @include "lib/fair_shares"
local function counting()
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

  --- Units of a window that are kept for clients below their share, where not all of them would find room: see held_back.
  local function kept_for_others(book, name, sum, w, now, client, weight, flex, ahead, whose)
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
  return { recount = recount, kept_for_others = kept_for_others }
end
