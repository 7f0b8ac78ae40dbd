--[[ lib/wait_queue: who waits for a window, in which order, and how the first of them is woken. Its keys and words: lib/queue_keys. ]]
local function waiting()
  --- Members of a line that stand before a place; all of them where none is given.
  local function standing(room, line, before)
    return redis.call('ZRANGEBYLEX', room.queue, '[' .. line .. '\t', '(' .. line .. (before and '\t' .. before or '\n'))
  end

  local function first_of(key, line)
    return redis.call('ZRANGEBYLEX', key, '[' .. line .. '\t', '(' .. line .. '\n', 'LIMIT', 0, 1)[1]
  end

  --- Line, place, id, client, model and units of a member of `queue`.
  local function read_member(member)
    return string.match(member, '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$')
  end

  --- Class and tag as they order a line; the ticket's number follows.
  local function rank(class, tag)
    return string.format('%d%018.9f', class, tag)
  end

  local NUMBER = '%012d'

  --- Adds up the units of members by window: sums[limit], and by client where `whose` is a table: whose[client][limit].
  --- Windows of one model (small letters) count for that model alone.
  local function add_up(members, model, sums, whose)
    for i = 1, #members do
      local _, _, _, client, of, units = read_member(members[i])
      for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
        if of == model or string.find(limit, '^%u') then
          sums[limit] = (sums[limit] or 0) + n
          if whose then
            local own = whose[client] or {}
            own[limit] = (own[limit] or 0) + n
            whose[client] = own
          end
        end
      end
    end
  end

  --- When those ahead mean to go and what they take of a window: { instant, units } each, in order.
  local function planned_of(room, members, model, limit)
    local ids, plan = {}, {}
    for i = 1, #members do
      ids[i] = select(3, read_member(members[i]))
    end
    local records = redis.call('HMGET', room.tickets, unpack(ids, 1, math.min(#ids, 1000)))
    for i = 1, #records do
      local sums = {}
      add_up({ members[i] }, model, sums)
      if records[i] and sums[limit] then
        plan[#plan + 1] = { string.match(records[i], '^%d+') + 0, sums[limit] }
      end
    end
    table.sort(plan, function(a, b) return a[1] < b[1] end)
    return plan
  end

  local function knock(room, id, at)
    redis.call('PUBLISH', room.queue, string.format('%s %d', id, at))
  end

  --- Wakes the first of a line, without looking whether it can go.
  local function knock_first(room, line, now)
    local member = first_of(room.queue, line)
    if member then
      local _, _, id = read_member(member)
      knock(room, id, now)
    end
  end

  --- What a ticket holds of its client's quota is counted (or no more: sign -1).
  local function hold_quota(room, client, requests, tokens, sign)
    local held = redis.call('HGET', room.fair, 'H\t' .. client)
    local r, t = 0, 0
    if held then
      r, t = string.match(held, '^(%d+) (%d+)$')
    end
    r, t = math.max(0, r + sign * requests), math.max(0, t + sign * tokens)
    redis.call('HSET', room.fair, 'H\t' .. client, string.format('%d %d', r, t))
  end

  --- Where nobody stands in a line any more it forgets whose turn it was.
  local function forget_if_empty(room, line)
    if redis.call('ZCARD', room.queue) == 0 then
      redis.call('DEL', room.fair)
    elseif not first_of(room.queue, line) then
      local fields = redis.call('HKEYS', room.fair)
      for i = 1, #fields do
        if string.match(fields[i], '^[VF]\t([^\t]*)') == line then
          redis.call('HDEL', room.fair, fields[i])
        end
      end
    end
  end

  --- Takes a ticket out of its line. Returns its line and its tag; nil where there is no such ticket.
  local function take_out(room, id)
    local record = redis.call('HGET', room.tickets, id)
    redis.call('ZREM', room.alive, id)
    if not record then
      return nil
    end
    local turn, requests, tokens, member, guests = string.match(record, '^%d+ (%S+) (%d+) (%d+)\n([^\n]*)\n?(.*)$')
    redis.call('HDEL', room.tickets, id)
    redis.call('ZREM', room.queue, member)
    for guest in string.gmatch(guests, '[^\n]+') do
      redis.call('ZREM', room.guests, guest)
    end
    local line, place, _, client = read_member(member)
    hold_quota(room, client, requests, tokens, -1)
    return line, string.sub(place, 2, 19) + 0, client, turn + 0, place
  end

  --- A ticket leaves without having gone: its client's later ones move up by its turn.
  local function leave(room, id)
    local line, _, client, turn, place = take_out(room, id)
    if not line then
      return nil
    end
    if turn > 0 then
      local members = standing(room, line)
      for i = 1, #members do
        local _, at, other, whose = read_member(members[i])
        if whose == client and at > place then
          local tag = math.max(0, string.sub(at, 2, 19) - turn)
          local moved = line .. '\t' .. rank(string.sub(at, 1, 1), tag) .. string.sub(at, 20)
            .. string.sub(members[i], #line + #at + 2)
          local record = redis.call('HGET', room.tickets, other)
          if record then
            local head, _, rest = string.match(record, '^([^\n]*)\n([^\n]*)(.*)$')
            redis.call('HSET', room.tickets, other, head .. '\n' .. moved .. rest)
            redis.call('ZREM', room.queue, members[i])
            redis.call('ZADD', room.queue, 0, moved)
          end
        end
      end
      local field = 'F\t' .. line .. '\t' .. client
      local begins = redis.call('HGET', room.fair, field)
      if begins then
        redis.call('HSET', room.fair, field, string.format('%.9f', math.max(0, begins - turn)))
      end
    end
    forget_if_empty(room, line)
    return line
  end

  --- Drops tickets whose replica has not renewed them; those behind move up.
  local function bury(room, now)
    local dead = redis.call('ZRANGEBYSCORE', room.alive, '-inf', now, 'LIMIT', 0, 16)
    for i = 1, #dead do
      local line = leave(room, dead[i])
      if line then
        knock_first(room, line, now)
      end
    end
  end

  --- The first of every line of a provider is woken: a breaker has closed, a switch was turned.
  local function knock_provider(room, provider, now)
    local last
    for kind in string.gmatch('am', '.') do
      local prefix = kind .. ':' .. provider
      for _, key in ipairs({ room.queue, room.guests }) do
        local members = redis.call('ZRANGEBYLEX', key, '[' .. prefix .. '/', '(' .. prefix .. '0')
        for i = 1, #members do
          local line, place, id = string.match(members[i], '^([^\t]*)\t([^\t]*)\t([^\t]*)')
          if line ~= last then
            last = line
            knock(room, id or place, now)
          end
        end
        last = nil
      end
    end
  end
  return {
    standing = standing,
    first_of = first_of,
    read_member = read_member,
    rank = rank,
    NUMBER = NUMBER,
    add_up = add_up,
    planned_of = planned_of,
    knock = knock,
    knock_first = knock_first,
    hold_quota = hold_quota,
    forget_if_empty = forget_if_empty,
    take_out = take_out,
    leave = leave,
    bury = bury,
    knock_provider = knock_provider,
  }
end
