--[[ admission/renew: a call under way stays alive. Extends its lease and slots, and moves the charges that count from its end.

  KEYS  1 meta  2 lease  3… the client's windows, their heads first, then the candidate's
  ARGV  1 slack  2 lease TTL in ms  3 packed client windows  4 packed windows of the candidate
  Reply the lease as it is now; 0 where there is no such lease any more
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/lease"
--- @include "lib/client_windows"
local held = redis.call('GET', KEYS[2])
if not held or held == 'x' then
  return 0
end
local now = clock(redis.call('HGET', KEYS[1], 't'))
slack = ARGV[1] + 0
local lease, id, ttl = read_lease(held), id_of(KEYS[2]), tonumber(ARGV[2])
local client, clients, after = windows_of_client(ARGV[3], 3)
local list, count = windows(ARGV[4], after)
for i = 1, clients + count do
  local w, at = client[i] or list[i - clients], HEADS + EACH * (i - 1) + 1
  if lease[at] ~= -1 and w.kind == 'n' then
    redis.call('ZADD', w.key, now + ttl, id)
    redis.call('PEXPIRE', w.key, ttl)
  elseif lease[at] ~= -1 and w.kind == 'm' then
    lease[at] = rules_of(w).correct(w, now, 0, lease[at], nil, nil, lease[at + 2]) or lease[at]
  end
end
held = lease_of(lease, HEADS + EACH * (clients + count))
redis.call('SET', KEYS[2], held, 'PX', ttl)
return held
