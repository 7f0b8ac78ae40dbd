--[[ lib/notify: a line's windows have changed: can its first ticket go earlier than it thinks? Behind lib/window and lib/wait_queue. ]]
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/wait_queue"
local function nudging(hall)
  local first_of, read_member, knock = hall.first_of, hall.read_member, hall.knock

  --- The instant at which one ticket's units fit these windows; `anywhere`: it stands in another line, whose windows may
  --- bear other names.
  local function could_go(list, model, of, units, now, anywhere)
    local asked, tokens = {}, 0
    for limit, n in string.gmatch(units, '(%a+)=(%d+)') do
      if of == model or anywhere or string.find(limit, '^%u') then
        asked[anywhere and string.lower(limit) or limit] = n + 0
      end
      tokens = math.max(tokens, n)
    end
    local opens = now
    for i = 1, #list do
      local w = list[i]
      w.units = asked[anywhere and string.lower(w.limit) or w.limit] or 0
      if anywhere and w.units == 0 then
        w.units = w.kind ~= 'n' and string.find(w.limit, '[tT][pP]') and math.min(tokens, w.max) or 1
      end
      if w.units > 0 and w.units <= w.max then
        local e = rules_of(w).look(w, now, 0)
        if e and not w.stale and e > opens then
          opens = e
        end
      end
    end
    return opens
  end

  local function plan_anew(room, id, opens)
    local record = redis.call('HGET', room.tickets, id)
    if not record then
      return
    end
    local planned, rest = string.match(record, '^(%d+)(.*)$')
    if opens < planned + 0 then
      redis.call('HSET', room.tickets, id, string.format('%d', opens) .. rest)
      knock(room, id, opens)
    end
  end

  --- Re-plans the first of a line, and the lowest number elsewhere that could go here too; nobody else is touched.
  local function nudge(room, line, list, model, now)
    local head, number = first_of(room.queue, line), nil
    if head then
      local _, place, id, _, of, units = read_member(head)
      number = string.sub(place, 20)
      plan_anew(room, id, could_go(list, model, of, units, now))
    end
    local guest = first_of(room.guests, line)
    if guest then
      local nr, id = string.match(guest, '^[^\t]*\t([^\t]*)\t(.*)$')
      if not number or nr < number then
        local record = redis.call('HGET', room.tickets, id)
        if record then
          local _, _, _, _, of, units = read_member(string.match(record, '^[^\n]*\n([^\n]*)'))
          plan_anew(room, id, could_go(list, model, of, units, now, true))
        else
          redis.call('ZREM', room.guests, guest)
        end
      end
    end
  end
  return nudge
end
