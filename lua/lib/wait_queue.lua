--[[ lib/wait_queue: the order of the tickets in a queue, and how the first of them is notified. Storage: lib/queue_keys. ]]
--- The queue's functions. They are made where a request waits, which most calls of `admit` and `settle` do not meet:
--- creating functions at each call is not free (lib/window_kinds).
local function wait_queue()
  local MAX_QUEUES = 256 -- of one provider that are notified
  local MAX_MOVED, MAX_READ = 16, 64 -- tickets of a client that move forward, and entries that are read for them
  local queue = { has_moved = false } -- has_moved: the ranks of tickets have changed in this call

  --- The first entry of a queue, in `queue` or in the alternates.
  function queue.first_entry(key, name)
    return redis.call('ZRANGEBYLEX', key, '[' .. name .. '\t', '(' .. name .. '\n', 'LIMIT', 0, 1)[1]
  end

  --- Queue, rank, id, client, model and units of an entry.
  function queue.parse_entry(entry)
    return string.match(entry, '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$')
  end

  --- Class, tag and number as bytes that order a queue.
  function queue.format_rank(class, tag, number)
    return string.format('%d%018.9f', class, tag) .. number
  end

  --- Class, tag and number of a rank; the number stays text.
  function queue.parse_rank(rank)
    return string.sub(rank, 1, 1), string.sub(rank, 2, 19) + 0, string.sub(rank, 20)
  end

  --- A ticket as it is stored: { planned, moved, service_time, requests, tokens, entry, alternates }.
  function queue.parse_ticket(record)
    local planned, service_time, requests, tokens, entry, alternates =
      string.match(record, '^(%d+) (%S+) (%d+) (%d+)\n([^\n]*)\n?(.*)$')
    local moved, others = string.match(alternates, '^moved (%d+)\n?(.*)$')
    return {
      planned = planned + 0, moved = (moved or 0) + 0, service_time = service_time + 0, requests = requests + 0,
      tokens = tokens + 0, entry = entry, alternates = others or alternates,
    }
  end

  --- The ticket of an id, or nil.
  function queue.read_ticket(keys, id)
    local record = redis.call('HGET', keys.tickets, id)
    return record and queue.parse_ticket(record) or nil
  end

  function queue.write_ticket(keys, id, ticket)
    local record = string.format('%d %.9f %d %d\n%s', ticket.planned, ticket.service_time, ticket.requests, ticket.tokens,
      ticket.entry)
    if ticket.moved > 0 then
      record = string.format('%s\nmoved %d', record, ticket.moved)
    end
    redis.call('HSET', keys.tickets, id, ticket.alternates == '' and record or record .. '\n' .. ticket.alternates)
  end

  --- The name of a window in sums over a queue: with its model, unless it spans the account.
  function queue.window_name(model, limit)
    return string.find(limit, '^%u') and limit or limit .. '@' .. model
  end

  --- The field of `fair` with the units of a window that all tickets of a queue need.
  function queue.sum_field(name, model, limit)
    return 'S\t' .. name .. '\t' .. queue.window_name(model, limit)
  end

  --- Adds the units of an entry to the sums of its queue.
  function queue.add_to_sums(keys, name, model, units)
    for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
      redis.call('HINCRBY', keys.fairness, queue.sum_field(name, model, limit), n)
    end
  end

  --- Notifies the replica of a ticket, which may then ask again at `at`.
  function queue.notify(keys, id, at)
    redis.call('PUBLISH', keys.queue, string.format('%s %d', id, at))
  end

  --- Notifies the first ticket of a queue, without checking whether it can be admitted.
  function queue.notify_head(keys, name, now)
    local entry = queue.first_entry(keys.queue, name)
    if entry then
      local _, _, id = queue.parse_entry(entry)
      queue.notify(keys, id, now)
    end
  end

  --- Notifies the first ticket of each queue of a provider: its breaker has closed, or it was switched on.
  function queue.notify_provider(keys, provider, now)
    for _, scope in ipairs({ 'a', 'm' }) do
      local prefix = scope .. ':' .. provider
      for _, key in ipairs({ keys.queue, keys.alternates }) do
        local from = '[' .. prefix .. '/'
        for _ = 1, MAX_QUEUES do
          local entry = redis.call('ZRANGEBYLEX', key, from, '(' .. prefix .. '0', 'LIMIT', 0, 1)[1]
          if not entry then
            break
          end
          local name, _, id = string.match(entry, '^([^\t]*)\t([^\t]*)\t([^\t]*)')
          queue.notify(keys, id, now)
          from = '[' .. name .. '\n' -- behind all of this queue
        end
      end
    end
  end

  --- Notifies all tickets with a candidate of a provider, in one message: its breaker has opened, and some do not wait until the
  --- next probe.
  function queue.notify_all(keys, provider, now)
    queue.notify(keys, 'p:' .. provider, now)
  end

  --- Adds to (or, with sign -1, takes from) the units of its quota for which a client's tickets queue.
  function queue.adjust_queued_quota(keys, client, requests, tokens, sign)
    if requests == 0 and tokens == 0 then
      return -- a client without limits
    end
    local queued_requests, queued_tokens = queue.queued_quota(keys, client)
    queued_requests, queued_tokens = queued_requests + sign * requests, queued_tokens + sign * tokens
    redis.call('HSET', keys.fairness, 'H\t' .. client,
      string.format('%d %d', math.max(0, queued_requests), math.max(0, queued_tokens)))
  end

  --- Requests and tokens of its quota for which a client's tickets queue.
  function queue.queued_quota(keys, client)
    local requests, tokens =
      string.match(redis.call('HGET', keys.fairness, 'H\t' .. client) or '0 0', '^(%d+) (%d+)$')
    return requests + 0, tokens + 0
  end

  --- Forgets the virtual times of a queue that has become empty.
  function queue.forget_if_empty(keys, name)
    if queue.first_entry(keys.queue, name) then
      return
    elseif redis.call('ZCARD', keys.queue) == 0 then
      redis.call('DEL', keys.fairness)
    else
      local fields = redis.call('HKEYS', keys.fairness)
      for i = 1, #fields do
        if string.match(fields[i], '^[VFS]\t([^\t]*)') == name then
          redis.call('HDEL', keys.fairness, fields[i])
        end
      end
    end
  end

  --- Deletes tickets: ids in a list, of which each is also a field with its ticket.
  function queue.remove(keys, ids)
    local entries, alternates, sums = {}, {}, {}
    for i = 1, #ids do
      local ticket = ids[ids[i]]
      entries[i] = ticket.entry
      for alternate in string.gmatch(ticket.alternates, '[^\n]+') do
        alternates[#alternates + 1] = alternate
      end
      local name, _, _, client, model, units = queue.parse_entry(ticket.entry)
      for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
        local field = queue.sum_field(name, model, limit)
        sums[field] = (sums[field] or 0) + n
      end
      queue.adjust_queued_quota(keys, client, ticket.requests, ticket.tokens, -1)
    end
    redis.call('ZREM', keys.heartbeats, unpack(ids))
    redis.call('HDEL', keys.tickets, unpack(ids))
    redis.call('ZREM', keys.queue, unpack(entries))
    for i = 1, #alternates do
      redis.call('ZREM', keys.alternates, alternates[i])
    end
    for field, n in pairs(sums) do
      redis.call('HINCRBY', keys.fairness, field, -n)
    end
  end

  --- Gives the turn of a ticket that has left back to its client: its next tickets move forward by the service time, and so does
  --- its finish tag where these are all. A client with more tickets keeps the gap, as if the ticket had been admitted: to move
  --- hundreds would take longer than one call may.
  local function move_forward(keys, left)
    local field = 'F\t' .. left.queue .. '\t' .. left.client
    local finish = (redis.call('HGET', keys.fairness, field) or 0) + 0
    local _, last_tag = queue.parse_rank(left.rank)
    local last_finish = last_tag + left.service_time
    if finish > last_finish + 1e-8 then
      local behind = '(' .. left.queue .. '\t' .. left.rank .. '\n'
      local entries = redis.call('ZRANGEBYLEX', keys.queue, behind, '(' .. left.queue .. '\n', 'LIMIT', 0, MAX_READ)
      local moved = 0
      for i = 1, #entries do
        local _, rank, id, client, model, units = queue.parse_entry(entries[i])
        local ticket = client == left.client and moved < MAX_MOVED and queue.read_ticket(keys, id)
        if ticket then
          moved = moved + 1
          local class, tag, number = queue.parse_rank(rank)
          last_finish = math.max(last_finish, tag + ticket.service_time)
          rank = queue.format_rank(class, math.max(0, tag - left.service_time), number)
          ticket.entry = table.concat({ left.queue, rank, id, client, model, units }, '\t')
          queue.write_ticket(keys, id, ticket)
          redis.call('ZREM', keys.queue, entries[i])
          redis.call('ZADD', keys.queue, 0, ticket.entry)
          queue.has_moved = true
        end
      end
    end
    if finish > 0 and finish <= last_finish + 1e-8 then
      redis.call('HSET', keys.fairness, field, string.format('%.9f', math.max(0, finish - left.service_time)))
    end
  end

  --- Deletes a ticket that was not admitted: its client's later ones move forward. Returns the name of its queue, or nil.
  function queue.leave(keys, id)
    local ticket = queue.read_ticket(keys, id)
    if not ticket then
      redis.call('ZREM', keys.heartbeats, id)
      return nil
    end
    local name, rank, _, client = queue.parse_entry(ticket.entry)
    ticket.queue, ticket.rank, ticket.client = name, rank, client
    queue.remove(keys, { id, [id] = ticket })
    if ticket.service_time > 0 then
      move_forward(keys, ticket)
    end
    queue.forget_if_empty(keys, ticket.queue)
    return ticket.queue
  end

  --- Deletes a ticket that was not admitted, and notifies the one that is now first.
  function queue.leave_and_notify(keys, id, now)
    local name = queue.leave(keys, id)
    if name then
      queue.notify_head(keys, name, now)
    end
    return name
  end

  --- Deletes tickets whose replica has sent no heartbeat, a few at a time.
  function queue.drop_expired_tickets(keys, now)
    local expired = redis.call('ZRANGEBYSCORE', keys.heartbeats, '-inf', now, 'LIMIT', 0, 16)
    for i = 1, #expired do
      queue.leave_and_notify(keys, expired[i], now)
    end
  end

  return queue
end
