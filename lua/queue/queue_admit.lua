--[[ queue/queue_admit: admits those tickets of one replica that may go now, in their order in the queue over all replicas, by the
  rules of admission/admit. All of them have the same candidates.

  KEYS  1 meta  2 health  3-7 the wait queue (lib/queue_keys)  8… for each candidate, in order: the fair shares of its queue,
        its windows; then for each ticket: its lease, its client's record, the client's windows after their heads
  ARGV  1-5 as for admission/admit  6 how many candidates  7… the candidates (lib/candidate), without units; then for each
          ticket: its request as for admission/admit, followed by the index of its first key; its packed client windows; and for
          each candidate its units of the windows, separated by blanks
  Reply {-1} or {-2, ms} as of admission/admit; else for each ticket its reply; {3} where there is no such ticket any more.
        Where a ticket is not admitted because there is no room behind it, or several of a client because others have claims,
        the ones behind are not examined: they are planned for the instant of the last one.
]]
--- @include "lib/admission"
local FIRST_QUEUE, FIRST_CANDIDATE_KEY = 3, 8 -- KEYS
local COUNT, FIRST_CANDIDATE = 6, 7 -- ARGV
local MAX_FULL = 3 -- tickets of a client in a row that are not admitted

local closed = open_pool()
if closed then
  return closed
end
local count = ARGV[COUNT] + 0
local ticket_fields, first_ticket = 2 + count, FIRST_CANDIDATE + count
local size = (#ARGV - first_ticket + 1) / ticket_fields
local replies, numbers, ids, first_keys = {}, {}, {}, {}
for i = 1, size do
  first_keys[i] = string.match(ARGV[first_ticket + ticket_fields * (i - 1)], '(%d+)$') + 0
  ids[i], replies[i], numbers[i] = lease_id(KEYS[first_keys[i]]), { 3 }, i
end
if not open_queue(FIRST_QUEUE) then
  return replies
end

--- The tickets of some numbers that are there, in the order of the queue.
local function in_order(some)
  local ids_of_some, found = {}, {}
  for i = 1, #some do
    ids_of_some[i] = ids[some[i]]
  end
  local records = #some > 0 and redis.call('HMGET', keys.tickets, unpack(ids_of_some)) or {}
  for i = 1, #some do
    local ticket = queue.open_ticket(records[i])
    if ticket then
      found[#found + 1] = { number = some[i], ticket = ticket }
    end
  end
  table.sort(found, function(a, b)
    if a.ticket.queue ~= b.ticket.queue then
      return a.ticket.queue < b.ticket.queue
    end
    return a.ticket.rank < b.ticket.rank
  end)
  return found
end

local candidates = candidate_list(function(number)
  return ARGV[FIRST_CANDIDATE + number - 1]
end, function()
  return FIRST_CANDIDATE_KEY
end)

--- The request of the ticket with this number.
local function request_of(number, ticket)
  local at, key = first_ticket + ticket_fields * (number - 1), first_keys[number]
  local request = parse_request(KEYS[key], ARGV[at])
  request.record, request.client_spec, request.first_client_key = KEYS[key + 1], ARGV[at + 1], key + 2
  request.candidates, request.count, request.first_candidate_key = candidates, count, FIRST_CANDIDATE_KEY
  request.ticket = ticket
  request.set_units = function(c)
    local i = 0
    for units in string.gmatch(ARGV[at + 1 + c.number], '%d+') do
      i = i + 1
      c.list[i].units = units + 0
    end
  end
  return request
end

local full, full_until = {}, {} -- by queue, and by queue and client: tickets in a row that wait, and the plan of the last one
local order, at = in_order(numbers), 1
queue.has_moved = false
while order[at] do
  local number, ticket = order[at].number, order[at].ticket
  at = at + 1
  local request, line = request_of(number, ticket), ticket.queue
  local who = line .. '\t' .. request.client
  local waits_until = full_until[line] or (full[who] or 0) >= MAX_FULL and full_until[who]
  if waits_until and request.wait_ms > 0 then
    replies[number] = queue.plan_again(request, max(ticket.planned, waits_until), now)
  else
    local waits
    replies[number], waits = admit_request(request)
    full[who] = waits and (full[who] or 0) + 1 or 0
    full_until[who] = waits and replies[number][3] or nil
    full_until[line] = waits == 'line' and replies[number][3] or nil
  end
  if queue.has_moved then -- one that has left gave its turn to others of its client
    numbers = {}
    for i = at, #order do
      numbers[#numbers + 1] = order[i].number
    end
    order, at, queue.has_moved = in_order(numbers), 1, false
  end
end
finish()
return replies
