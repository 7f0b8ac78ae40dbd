--[[ admission/renew: keeps a running call alive. Extends its lease and its slots, and moves the charges that count from its end.

  KEYS  1 meta  2 lease  3… the client's windows, after their heads; then the candidate's
  ARGV  1 arrival slack  2 TTL of the lease in ms  3 packed client windows  4 packed windows of the candidate
  Reply the lease as it is now; 0 where there is no such lease any more
]]
--- @include "lib/pool_clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/client_windows"
--- @include "lib/lease"
local META, LEASE, FIRST_WINDOW = 1, 2, 3 -- KEYS
local ARRIVAL_SLACK, LEASE_TTL, CLIENT_WINDOWS, CANDIDATE_WINDOWS = 1, 2, 3, 4 -- ARGV

local packed = redis.call('GET', KEYS[LEASE])
if not packed or packed == 'x' then
  return 0
end
local now = pool_clock(KEYS[META])
arrival_slack = ARGV[ARRIVAL_SLACK] + 0
local lease, ttl = unpack_lease(packed), tonumber(ARGV[LEASE_TTL])
local of_client, clients, first_key, heads = parse_client_windows(ARGV[CLIENT_WINDOWS], FIRST_WINDOW)
local windows, count = parse_windows(ARGV[CANDIDATE_WINDOWS], first_key)
for i = 1, clients + count do
  local w = of_client[i] or windows[i - clients]
  local position, _, charged = lease_charge(lease, i)
  if position ~= -1 and w.kind == 'n' then
    redis.call('ZADD', w.key, now + ttl, lease_id(KEYS[LEASE]))
    redis.call('PEXPIRE', w.key, ttl)
  elseif position ~= -1 and w.kind == 'm' then
    position = rules_of(w).correct(w, now, 0, position, nil, nil, charged) or position
    lease[window_offset(i) + 1] = position
  end
end
write_client_heads(heads)
packed = pack_lease(lease, #packed / 8)
redis.call('SET', KEYS[LEASE], packed, 'PX', ttl)
return packed
