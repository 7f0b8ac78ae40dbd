--[[ lib/enqueue: one request's own place in line (lib/wait_queue): finding it, taking it, moving with it, and leaving it to go.

  who = { id, client, weight, class, alive, ticket }: alive = ms until its replica is taken for dead; ticket = the place it
  has, as { line, place, number }, or nil.
]]
--- @include "lib/wait_queue"
--- @include "lib/notify"
local function placing()
  local WAITERS_TTL = 2 * 3600000 -- no request waits longer than an hour
  local hall = waiting()
  local nudge, read_member, first_of, leave = nudging(hall), hall.read_member, hall.first_of, hall.leave
  local rank, knock_first, hold_quota, take_out = hall.rank, hall.knock_first, hall.hold_quota, hall.take_out
  local forget_if_empty = hall.forget_if_empty

  --- The place of a request that asks again; nil where it has none any more.
  local function ticket_of(room, id)
    local record = redis.call('HGET', room.tickets, id)
    if record then
      local line, place = read_member(string.match(record, '^[^\n]*\n([^\n]*)'))
      return { line = line, place = place, number = string.sub(place, 20) }
    end
  end

  --- Where a request stands in a line, or would stand: class, tag and number, in bytes; and its tag.
  local function place_in(room, who, line)
    local ticket = who.ticket
    if ticket and ticket.line == line then
      return ticket.place, string.sub(ticket.place, 2, 19) + 0
    end
    local fair = redis.call('HMGET', room.fair, 'V\t' .. line, 'F\t' .. line .. '\t' .. who.client)
    local tag = math.max((fair[1] or 0) + 0, (fair[2] or 0) + 0)
    return rank(who.class, tag) .. (ticket and ticket.number or '~'), tag
  end

  --- What a request takes of windows: the greatest part of one, for its turn; and by window, in words.
  local function units_of(list)
    local text, part = {}, 0
    for i = 1, #list do
      local w = list[i]
      if w.units > 0 then
        text[#text + 1] = string.format('%s=%d', w.limit, w.units)
        if w.span ~= 0 then
          part = math.max(part, w.units / w.max)
        end
      end
    end
    return part, table.concat(text, ' ')
  end

  --- Stands in a line from now on, to ask again at `e`: at = { line, tag, part, units, model, requests, tokens }, the last
  --- two of the client's quota. It is a guest of the other lines its candidates have.
  local function stand_in_line(room, who, at, others, e, now)
    local id, ticket, number = who.id, who.ticket, nil
    if ticket and ticket.line == at.line then
      local record = redis.call('HGET', room.tickets, id)
      redis.call('HSET', room.tickets, id, string.format('%d', e) .. string.match(record, '^%d+(.*)$'))
      redis.call('ZADD', room.alive, now + who.alive, id)
      return
    elseif ticket then
      number = ticket.number
      knock_first(room, leave(room, id), now)
    else
      number = string.format(hall.NUMBER, redis.call('HINCRBY', KEYS[1], 'num', 1))
    end
    local turn = at.part / who.weight
    local member = table.concat({ at.line, rank(who.class, at.tag) .. number, id, who.client, at.model, at.units }, '\t')
    local record = { string.format('%d %.9f %d %d', e, turn, at.requests, at.tokens), member }
    redis.call('ZADD', room.queue, 0, member)
    local seen = { [at.line] = true }
    for _, other in ipairs(others) do
      if not seen[other] and #record < 18 then
        seen[other] = true
        record[#record + 1] = other .. '\t' .. number .. '\t' .. id
        redis.call('ZADD', room.guests, 0, record[#record])
      end
    end
    redis.call('HSET', room.tickets, id, table.concat(record, '\n'))
    redis.call('ZADD', room.alive, now + who.alive, id)
    if turn > 0 then
      redis.call('HSET', room.fair, 'F\t' .. at.line .. '\t' .. who.client, string.format('%.9f', at.tag + turn))
    end
    hold_quota(room, who.client, at.requests, at.tokens, 1)
    for _, key in ipairs({ room.queue, room.guests, room.tickets, room.alive, room.fair }) do
      redis.call('PEXPIRE', key, WAITERS_TTL)
    end
  end

  --- It went: the line remembers whose turn is next, and whoever comes after it is woken. c = { line, tag, behind, list,
  --- model } of where it went.
  local function go_from_line(room, who, c, now)
    local ticket = who.ticket
    if c.behind or first_of(room.queue, c.line) then
      local v = 'V\t' .. c.line
      redis.call('HSET', room.fair, v, string.format('%.9f', math.max(c.tag, (redis.call('HGET', room.fair, v) or 0) + 0)))
      if not ticket then
        local turn = units_of(c.list) / who.weight
        redis.call('HSET', room.fair, 'F\t' .. c.line .. '\t' .. who.client, string.format('%.9f', c.tag + turn))
      end
    end
    if not ticket then
      return
    elseif ticket.line == c.line then
      take_out(room, who.id)
      forget_if_empty(room, ticket.line)
    else
      knock_first(room, leave(room, who.id), now)
    end
    nudge(room, c.line, c.list, c.model, now)
  end
  hall.ticket_of, hall.place_in, hall.units_of = ticket_of, place_in, units_of
  hall.stand_in_line, hall.go_from_line = stand_in_line, go_from_line
  return hall
end
