--[[ admission/replay_leases: charges again what a lost state has forgotten. A lease that is still there is passed over.

  KEYS  1 meta; then for each lease: its key, its client's windows after their heads, its candidate's windows
  ARGV  1 epoch  2 arrival slack  3 TTL of a lease  4 TTL of the mark that a lease was settled (all in ms)
        5… four for each lease: the packed lease (lib/lease); "x" where it was settled, else ""; its packed client windows;
          its candidate's packed windows; units as used
  Reply how many were charged again; -1 = another epoch by now
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/client_windows"
--- @include "lib/lease"
local META, FIRST_LEASE = 1, 2 -- KEYS
local EPOCH, ARRIVAL_SLACK, LEASE_TTL, SETTLED_TTL, FIRST_RECORD, RECORD_FIELDS = 1, 2, 3, 4, 5, 4 -- ARGV

local meta = redis.call('HMGET', KEYS[META], 'epoch', 't', 'off', 'gap')
if meta[1] ~= ARGV[EPOCH] then
  return -1
end
local now, ttl = clock(meta[2], meta[3], meta[4]), tonumber(ARGV[LEASE_TTL])
arrival_slack = ARGV[ARRIVAL_SLACK] + 0

--- Charges w.units where they stood in the lost state, as far as they still count.
local function restore(w, position, second_position, lease, is_open)
  if w.kind == 's' then
    if position > now - w.span - arrival_slack then
      read_head(w, now)
      w.frees_at, w.position = 0, position
      rules_of(w).charge(w, now)
    end
  elseif w.kind == 'b' or w.kind == 'm' then
    add_spent(rules_of(w), w, now, w.units) -- as if nothing had drained, or as if the call ended now
  elseif w.kind == 'c' then
    redis.call('HINCRBY', w.key, decimal(position), w.units)
    if second_position ~= 0 then
      redis.call('HINCRBY', w.key, decimal(second_position), w.units)
    end
    redis.call('PEXPIRE', w.key, w.after - redis_ms + 2 * 86400000)
  elseif is_open then
    redis.call('ZADD', w.key, now + ttl, lease)
    redis.call('PEXPIRE', w.key, ttl)
  end
end

local charged, next_key = 0, FIRST_LEASE
for record = FIRST_RECORD, #ARGV, RECORD_FIELDS do
  local packed, is_open, client_spec, spec = ARGV[record], ARGV[record + 1] == '', ARGV[record + 2], ARGV[record + 3]
  local key = KEYS[next_key]
  local of_client, clients, first_key, heads = parse_client_windows(client_spec, next_key + 1)
  local windows, count = parse_windows(spec, first_key)
  next_key = first_key + count
  if redis.call('EXISTS', key) == 0 then
    local lease = unpack_lease(packed)
    for i = 1, clients + count do
      local w = of_client[i] or windows[i - clients]
      local position, second_position = lease_charge(lease, i)
      if position ~= -1 and w.units > 0 then
        restore(w, position, second_position, lease_id(key), is_open)
      end
    end
    write_client_heads(heads)
    if is_open then
      redis.call('SET', key, packed, 'PX', ttl)
    else
      redis.call('SET', key, 'x', 'PX', ARGV[SETTLED_TTL])
    end
    charged = charged + 1
  end
end
return charged
