--[[ lib/admission_call: what a call of the admission scripts opens, for all of its requests: the pool with its clock, the wait
  queue, and the candidates.

  KEYS  1 meta  2 health
  ARGV  1 epoch the caller knows  2 highest sequence number it has seen  3 arrival slack  4 TTL of a lease  5 deadline of a
          probe (the last three in ms)

  request = { id, lease, record, client, version, weight, class, is_flexible, wait_ms, alive_ms, ticket, place, client_spec,
  first_client_key, candidates, count, first_candidate_key }: keys of its lease and of the client's record; the spec of the
  client's windows and the index of their first key; its packed candidates: candidates(number), how many, and the index of
  their first key (nil: behind the client's windows).
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/lease"
--- @include "lib/candidate"
--- @include "lib/queue_keys"
--- @include "lib/enqueue"
local META, HEALTH = KEYS[1], KEYS[2]
local LEASE_TTL, PROBE_MS = ARGV[4], ARGV[5]
local now, sequence, first_sequence -- of this call, set by open_pool
local keys, queue -- of the wait queue, set by open_queue; queue: nil while no request waits

--- Checks the epoch, and reads the clock. Returns the reply where nothing is admitted.
local function open_pool()
  arrival_slack = ARGV[3] + 0
  local meta = redis.call('HMGET', META, 'epoch', 'seq', 't', 'hold', 'off', 'gap')
  local hold_until = (meta[4] or 0) + 0
  sequence = (meta[2] or 0) + 0
  first_sequence = sequence
  if meta[1] ~= ARGV[1] or sequence < ARGV[2] + 0 then
    return { -1 }
  end
  local is_unsure
  now, is_unsure = clock(meta[3], meta[5], meta[6])
  if is_unsure then
    return { -1 }
  end
  if now < hold_until then
    return { -2, hold_until - now }
  end
end

--- Opens the wait queue whose keys begin at KEYS[first]. Returns whether any request waits.
local function open_queue(first)
  keys = queue_keys(first)
  if redis.call('ZCARD', keys.queue) > 0 then
    queue = ticket_queue(keys)
    queue.drop_expired_tickets(keys, now)
  end
  return queue ~= nil
end

--- A request from its description: "client version weight class wait again alive". Returns it and `again`.
local function parse_request(lease, spec)
  local client, version, weight, class, wait_ms, again, alive_ms =
    string.match(spec, '^(%S+) (%d+) (%d+) (%d) (%-?%d+) (%d) (%d+)')
  return {
    id = lease_id(lease), lease = lease, record = nil, client = client, version = version, weight = weight + 0, class = class,
    is_flexible = class == '1', wait_ms = wait_ms + 0, alive_ms = alive_ms + 0, ticket = nil, place = nil, client_spec = '',
    first_client_key = nil, candidates = nil, count = 0, first_candidate_key = nil,
  }, again == '1'
end

--- The candidates of requests, parsed once: packed(number) is one as text, first_key() the index of the key of the first one.
local function candidate_list(packed, first_key)
  local candidates = {}
  --- The candidate with this number; the one before it must have been read.
  return function(number)
    local c = candidates[number]
    if not c then
      c = parse_candidate(packed(number))
      c.number = number
      local before = candidates[number - 1]
      if before then
        local windows = before.list and #before.list or select(2, string.gsub(before.spec, ' %a ', '')) -- each has a kind
        c.shares_key = before.shares_key + 1 + windows
      else
        c.shares_key = first_key()
      end
      candidates[number] = c
    end
    return c
  end
end
