--[[ lib/notify: when the windows of a queue have changed, decides whether its first ticket can be admitted earlier. ]]
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/wait_queue"

--- `queue`: the functions of lib/wait_queue. Returns notify_if_runnable.
local function runnable_notifier(queue)
  --- The instant at which a ticket's units fit these windows; `is_alternate`: the ticket stands in another queue, whose
  --- windows may have other names.
  local function fits_at(list, model, ticket_model, units, now, is_alternate)
    local units_by_limit, tokens = {}, 0
    for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
      if ticket_model == model or is_alternate or string.find(limit, '^%u') then
        units_by_limit[is_alternate and string.lower(limit) or limit] = n + 0
      end
      tokens = max(tokens, n)
    end
    local latest = now
    for i = 1, #list do
      local w = list[i]
      w.units = units_by_limit[is_alternate and string.lower(w.limit) or w.limit] or 0
      if is_alternate and w.units == 0 then
        w.units = w.kind ~= 'n' and string.find(w.limit, '[tT][pP]') and min(tokens, w.max) or 1
      end
      if w.units > 0 and w.units <= w.max then
        local earliest = rules_of(w).check(w, now, 0)
        if earliest and not w.stale then
          latest = max(latest, earliest)
        end
      end
    end
    return latest
  end

  --- Plans a ticket for `at` and notifies it, where that is earlier than it was planned for.
  local function plan_earlier(keys, id, ticket, at)
    if ticket and at < ticket.planned then
      ticket.planned = at
      queue.write_ticket(keys, id, ticket)
      queue.notify(keys, id, at)
    end
  end

  --- Plans the first ticket of a queue again, and the alternate with the lowest number where that is before it; no other.
  return function(keys, name, list, model, now)
    local head_number
    local head = queue.first_entry(keys.queue, name)
    if head then
      local _, rank, id, _, ticket_model, units = queue.parse_entry(head)
      local _, _, number = queue.parse_rank(rank)
      head_number = number
      plan_earlier(keys, id, queue.read_ticket(keys, id), fits_at(list, model, ticket_model, units, now))
    end
    local alternate = queue.first_entry(keys.alternates, name)
    if alternate then
      local number, id = string.match(alternate, '^[^\t]*\t([^\t]*)\t(.*)$')
      if not head_number or number < head_number then
        local ticket = queue.read_ticket(keys, id)
        if ticket then
          local _, _, _, _, ticket_model, units = queue.parse_entry(ticket.entry)
          plan_earlier(keys, id, ticket, fits_at(list, model, ticket_model, units, now, true))
        else
          redis.call('ZREM', keys.alternates, alternate)
        end
      end
    end
  end
end
