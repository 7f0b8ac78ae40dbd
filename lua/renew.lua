--[[ renew: a call under way stays alive. Extends its lease and slots, and moves the charges that count from its end.

  KEYS  1 meta  2 lease  3… the client's windows, their heads first, then the candidate's
  ARGV  1 slack  2 lease TTL in ms  3 packed client windows  4 packed windows of the candidate
  Reply the lease as packed now; 0 where there is no such lease any more
]]
local held = redis.call('GET', KEYS[2])
if not held or held == 'x' then
  return 0
end
local now = clock(redis.call('HGET', KEYS[1], 't'))
slack = ARGV[1] + 0
local head, rest = string.match(held, '^(%d+ %d+ %d+ %d+ %d+) ?(.*)$')
local word, places = string.gmatch(rest, '(%S+) (%d+) (%d+) (%d+)'), {}
local lease, ttl = string.match(KEYS[2], '[^:]*$'), tonumber(ARGV[2])
local client, clients, after = windows_of_client(ARGV[3], 3)
local list, count = windows(ARGV[4], after)
for i = 1, clients + count do
  local w = client[i] or list[i - clients]
  local place, units, q, used = word()
  if place ~= '-' and w.kind == 'n' then
    redis.call('ZADD', w.key, now + ttl, lease)
    redis.call('PEXPIRE', w.key, ttl)
  elseif place ~= '-' and w.kind == 'm' then
    place = rules_of(w).correct(w, now, 0, place, nil, units + 0) or place
  end
  places[#places + 1] = place .. ' ' .. units .. ' ' .. q .. ' ' .. used
end
held = head .. ' ' .. table.concat(places, ' ')
redis.call('SET', KEYS[2], held, 'PX', ttl)
return held
