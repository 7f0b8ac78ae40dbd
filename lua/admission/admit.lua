--[[ admission/admit: admits one request to the first candidate that has room for it. All windows and slots of that candidate and
  of the client are charged, or none. All reads come before the first charge, so a refusal leaves none.

  KEYS  1 meta  2 health  3 lease  4-8 the wait queue (lib/queue_keys)  9 the client's record
        10… the client's windows, after their heads (lib/client_windows); then for each candidate, in order: the fair shares
        of its queue (lib/fair_shares), its windows
  ARGV  1 epoch the caller knows  2 highest sequence number it has seen  3 arrival slack  4 TTL of the lease  5 deadline of
          a probe (the last three in ms)
        6 the request: "client version weight class wait again alive": version of the client's record as the caller knows
          it, 0 = there is none; class 0, or 1 for flexible work, which takes what others leave; wait in ms, 0 = it does
          not wait, -1 = it does not even count as demand; again 1 = it has a ticket, or had one at a place, which follows
          behind another blank; alive = ms until its replica counts as dead
        7 packed client windows, "" for none
        8… the candidates (lib/candidate); windows of 0 units are passed over
  Reply {1, candidate, now, sequence, lease, reason…}  admitted; lease: lib/lease; reasons of the candidates before it
        {0, now, earliest, exact, by, used, reason…}  refused until `earliest`; by = 1 the client's quota, 2 the budget;
                                     used: units in each client window, as text; each reason: name, max, earliest
        {2, now, earliest, exact, place}   queued: ask again at `earliest`, or when notified; place: to name where the
                                     ticket is lost
        {-1}                         another epoch, the state lost something, or TIME may have jumped: `sync` first
        {-2, ms}                     the leases of a lost state are being replayed; ask again after this time. (A request
                                     with a place that waits gets it back meanwhile: {2, …}.)
        {-3, TIME}                   calendar boundaries are out of range: send later ones
        {-4}                         this lease was cancelled before this call
        {-5}                         the client's record is deleted, disabled, expired, or of another version
]]
--- @include "lib/admission"
local LEASE, FIRST_QUEUE, CLIENT_RECORD, FIRST_WINDOW = 3, 4, 9, 10 -- KEYS
local REQUEST, CLIENT_WINDOWS, FIRST_CANDIDATE = 6, 7, 8 -- ARGV

--- Gives a request whose ticket was lost its place back, while nothing is admitted. Returns its reply, or nil where it has no
--- candidate there any more.
local function restore(request, planned)
  local quota = check_quota(request)
  request.first_candidate_key = quota.next_key
  local only_quota_prevents = request.place.queue == 'c:' .. request.client
  for number = 1, request.count do
    local c = request.candidates(number)
    if only_quota_prevents or c.queue == request.place.queue then
      c.tag, c.list = request.place.tag, parse_windows(c.spec, c.shares_key + 1)
      if not only_quota_prevents then
        queue.lower_virtual_time(c)
        if not request.is_flexible then
          c.shares = open_shares(KEYS[c.shares_key], c.queue, c.model, request.client)
          record_demand(c.shares, c.list, now, request.client, request.weight, 1, 0)
          write_changed_demand()
        end
      end
      return enqueue(request, quota, { best = c, earliest = planned, exact = false }, only_quota_prevents)
    end
  end
end

local closed = open_pool()
local request, again = parse_request(KEYS[LEASE], ARGV[REQUEST])
if closed and not (again and closed[1] == -2 and request.wait_ms > 0) then
  return closed
end
request.record, request.client_spec, request.first_client_key = KEYS[CLIENT_RECORD], ARGV[CLIENT_WINDOWS], FIRST_WINDOW
request.count = #ARGV - FIRST_CANDIDATE + 1
request.candidates = candidate_list(function(number)
  return ARGV[FIRST_CANDIDATE + number - 1]
end, function()
  return request.first_candidate_key
end)
local has_queue = open_queue(FIRST_QUEUE)
if again then
  queue = queue or ticket_queue(keys)
  request.ticket = has_queue and queue.open_ticket(redis.call('HGET', keys.tickets, request.id)) or nil
  request.place = not request.ticket and queue.parse_place(string.match(ARGV[REQUEST], '%d (%d+%.%d+ .+)$') or '') or nil
  if closed and request.ticket then
    return queue.plan_again(request, now + closed[2], now)
  elseif closed then
    return request.place and restore(request, now + closed[2]) or closed
  end
  queue = (has_queue or request.place) and queue or nil
end
local reply = admit_request(request)
finish()
return reply
