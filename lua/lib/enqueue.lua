--[[ lib/enqueue: the way of one request through a queue (lib/wait_queue): finding its ticket, enqueueing, and leaving when it
  is admitted. All requests of a call share what was read of the queues.

  request = { id, client, weight, class, alive_ms, ticket, place }: alive_ms until its replica counts as dead; ticket: the one it
  has, as read_ticket returns it, with queue, rank and number; or nil; place: where it stood before its ticket was lost.
]]
--- @include "lib/wait_queue"
--- @include "lib/queue_reader"
local function ticket_queue(keys)
  local QUEUE_TTL_MS = 2 * 3600000 -- no request waits longer than an hour
  local MAX_ALTERNATES = 16
  local NEWEST = '999999999999' -- the number of a request that has none yet
  local queue = wait_queue()
  local reader = queue_reader(keys, queue)
  local dequeued, virtual_times = {}, {} -- tickets that were admitted, and tags by queue, which are not written yet

  --- A ticket with its queue, rank, class, tag and number; `record` as it is stored, or false.
  function queue.open_ticket(record)
    local ticket = record and queue.parse_ticket(record) or nil
    if ticket then
      ticket.queue, ticket.rank = queue.parse_entry(ticket.entry)
      ticket.class, ticket.tag, ticket.number = queue.parse_rank(ticket.rank)
    end
    return ticket
  end

  --- A place as `admit` has named it: "rank queue".
  function queue.parse_place(text)
    local rank, name = string.match(text, '^(%S+) (.+)$')
    if rank then
      local class, tag, number = queue.parse_rank(rank)
      return { queue = name, rank = rank, class = class, tag = tag, number = number }
    end
  end

  --- The rank that a request has in a queue, or would get; and its tag.
  function queue.rank_in(request, name)
    local ticket = request.ticket or request.place
    if ticket and ticket.queue == name then
      return ticket.rank, ticket.tag
    end
    queue.write_dequeued()
    local stored = redis.call('HMGET', keys.fairness, 'V\t' .. name, 'F\t' .. name .. '\t' .. request.client)
    local tag = math.max((stored[1] or 0) + 0, (stored[2] or 0) + 0)
    return queue.format_rank(request.class, tag, ticket and ticket.number or NEWEST), tag
  end

  --- Numbers of the candidates in the order in which a ticket is evaluated: those of its own queue first. candidate(number)
  --- returns one of `count`.
  function queue.evaluation_order(ticket, candidate, count)
    local order, others = {}, {}
    for number = 1, count do
      local list = candidate(number).queue == ticket.queue and order or others
      list[#list + 1] = number
    end
    for i = 1, #others do
      order[#order + 1] = others[i]
    end
    return order
  end

  --- What is queued before a request at a candidate, nil where nothing is: { units by limit, by_client(limit)
  --- (lib/queue_reader), is_blocked }; is_blocked: its turn has not come, whatever the units say. `room`: units[limit] that its
  --- windows have left for others, nil where not even the request fits. ticket: the one it has, or nil. Sets c.is_behind.
  function queue.queued_before(c, rank, room, ticket)
    local name, model, list = c.queue, c.model, c.list
    local own = ticket and ticket.queue == name and ticket.entry or nil
    local read = room and reader.read_before(name, rank, model, room)
    local ahead = { units = {}, by_client = nil, is_blocked = false }
    if read == 'all' or read == 'unread' then
      c.is_behind = reader.has_passed(name)
      if not c.is_behind then
        return nil
      end
      ahead.by_client = function(limit)
        return reader.units_by_client(name, model, limit)
      end
      if read == 'unread' then
        queue.write_dequeued()
      end
      local totals = read == 'unread' and reader.totals(name, model, list, own)
      for i = 1, #list do
        local limit = list[i].limit
        ahead.units[limit] = totals and totals[limit] or reader.units(name, model, limit)
        ahead.is_blocked = ahead.is_blocked or totals and room[limit] and totals[limit] > room[limit]
      end
      if not ahead.is_blocked then
        return ahead
      end
    end
    c.is_behind = true
    queue.write_dequeued()
    ahead.units = reader.estimate(name, rank, model, list, read, own)
    ahead.is_blocked = read == 'unread'
    return ahead.units and ahead or nil
  end

  --- The same of a client below its share, before which only those stand for which counts(client) holds: the others must leave
  --- it its share, wherever they stand. Nil where that was not read.
  function queue.claims_before(c, rank, counts)
    if reader.read_before(c.queue, rank, c.model, {}) ~= 'all' then
      return nil
    end
    return { units = reader.units_of_clients(c.queue, c.model, c.list, counts), is_blocked = false }
  end

  --- Units of a request by window, as text; and the largest fraction of a window among them.
  function queue.units_of(list)
    local units, fraction = {}, 0
    for i = 1, #list do
      local w = list[i]
      if w.units > 0 then
        units[#units + 1] = string.format('%s=%d', w.limit, w.units)
        if w.span ~= 0 then
          fraction = math.max(fraction, w.units / w.max)
        end
      end
    end
    return table.concat(units, ' '), fraction
  end

  local function expect_heartbeat(request, now)
    redis.call('ZADD', keys.heartbeats, now + request.alive_ms, request.id)
  end

  --- Changes the plan of a request that has a ticket. Returns its reply.
  function queue.plan_again(request, planned, now)
    if request.ticket.planned ~= planned then
      request.ticket.planned = planned
      queue.write_ticket(keys, request.id, request.ticket)
    end
    return { 2, now, planned, 1, request.ticket.rank .. ' ' .. request.ticket.queue }
  end

  --- Stands in the queue at.queue until the request asks again at `planned`; where it stands there already, only its plan
  --- changes. It leaves another one without a notification. at = { queue, tag, fraction, units, model, requests, tokens }, the
  --- last two of the client's quota. `names`: queues of all its candidates, of which it becomes an alternate. Returns its reply.
  function queue.enqueue(request, at, names, planned, now)
    local id, ticket, place = request.id, request.ticket, request.place
    if ticket and ticket.queue == at.queue then
      return queue.plan_again(request, planned, now)
    end
    queue.write_dequeued()
    local number
    if ticket then
      number = ticket.number
      queue.leave(keys, id)
      reader.forget(ticket.queue)
    elseif place then
      number = place.number
      if (redis.call('HGET', KEYS[1], 'num') or 0) + 0 < number + 0 then
        redis.call('HSET', KEYS[1], 'num', string.format('%d', number)) -- whoever comes stands behind it
      end
    else
      number = string.format('%012d', redis.call('HINCRBY', KEYS[1], 'num', 1))
    end
    local service_time = at.fraction / request.weight
    local rank = queue.format_rank(request.class, at.tag, number)
    local entry = table.concat({ at.queue, rank, id, request.client, at.model, at.units }, '\t')
    redis.call('ZADD', keys.queue, 0, entry)
    queue.add_to_sums(keys, at.queue, at.model, at.units)
    reader.forget(at.queue)
    local alternates, seen = {}, { [at.queue] = true }
    for _, name in ipairs(names) do
      if not seen[name] and #alternates < MAX_ALTERNATES then
        seen[name] = true
        alternates[#alternates + 1] = name .. '\t' .. number .. '\t' .. id
        redis.call('ZADD', keys.alternates, 0, alternates[#alternates])
      end
    end
    queue.write_ticket(keys, id, {
      planned = planned, moved = ticket and now or 0, service_time = service_time, requests = at.requests, tokens = at.tokens,
      entry = entry, alternates = table.concat(alternates, '\n'),
    })
    expect_heartbeat(request, now)
    if service_time > 0 then
      local field, finish = 'F\t' .. at.queue .. '\t' .. request.client, at.tag + service_time
      if place then
        finish = math.max(finish, (redis.call('HGET', keys.fairness, field) or 0) + 0)
        if not redis.call('HGET', keys.fairness, 'V\t' .. at.queue) then
          redis.call('HSET', keys.fairness, 'V\t' .. at.queue, string.format('%.9f', at.tag))
        end
      end
      redis.call('HSET', keys.fairness, field, string.format('%.9f', finish))
    end
    queue.adjust_queued_quota(keys, request.client, at.requests, at.tokens, 1)
    for _, key in pairs(keys) do
      redis.call('PEXPIRE', key, QUEUE_TTL_MS)
    end
    return { 2, now, planned, 1, rank .. ' ' .. at.queue }
  end

  --- Sets the virtual time of a queue that is restored back to the tag of a request: that of the first one decides, and requests
  --- are restored in any order.
  function queue.lower_virtual_time(c)
    local field = 'V\t' .. c.queue
    local virtual_time = redis.call('HGET', keys.fairness, field)
    if not virtual_time or c.tag < virtual_time + 0 then
      redis.call('HSET', keys.fairness, field, string.format('%.9f', c.tag))
    end
  end

  --- Deletes the ticket of a request that was not admitted, and notifies the one that is now first.
  function queue.leave_for_good(request, now)
    queue.write_dequeued()
    queue.leave_and_notify(keys, request.id, now)
    reader.forget(request.ticket.queue)
  end

  --- Records that a request was admitted to a candidate: the virtual time of its queue advances, and its ticket is deleted.
  --- c = { queue, tag, is_behind, list, model }. Returns whether the next ticket is to be notified.
  function queue.dequeue(request, c, now)
    local ticket = request.ticket
    if c.is_behind or ticket and ticket.queue == c.queue or queue.first_entry(keys.queue, c.queue) then
      virtual_times[c.queue] = math.max(c.tag, virtual_times[c.queue] or 0)
      if not ticket then
        local _, fraction = queue.units_of(c.list)
        local finish_field, finish = 'F\t' .. c.queue .. '\t' .. request.client, c.tag + fraction / request.weight
        if request.place then -- later tickets of its client are there
          finish = math.max(finish, (redis.call('HGET', keys.fairness, finish_field) or 0) + 0)
        end
        redis.call('HSET', keys.fairness, finish_field, string.format('%.9f', finish))
      end
    end
    if not ticket then
      return false
    elseif ticket.queue == c.queue then
      dequeued[#dequeued + 1] = request.id
      dequeued[request.id] = ticket
      reader.remove(ticket.queue, ticket.entry)
    else
      queue.leave_for_good(request, now)
    end
    return true
  end

  --- Writes what the requests of this call that were admitted have changed, all at once.
  function queue.write_dequeued()
    for name, tag in pairs(virtual_times) do
      local field = 'V\t' .. name
      local virtual_time = math.max(tag, (redis.call('HGET', keys.fairness, field) or 0) + 0)
      redis.call('HSET', keys.fairness, field, string.format('%.9f', virtual_time))
    end
    virtual_times = {}
    if #dequeued > 0 then
      local tickets = dequeued
      dequeued = {}
      queue.remove(keys, tickets)
      local names = {}
      for i = 1, #tickets do
        names[tickets[tickets[i]].queue] = true
      end
      for name in pairs(names) do
        queue.forget_if_empty(keys, name)
      end
    end
  end

  return queue
end
