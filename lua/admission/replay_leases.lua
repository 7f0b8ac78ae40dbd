--[[ admission/replay_leases: charges again what a lost state has forgotten. A lease it still knows is passed over.

  KEYS  1 meta, then for each lease: its key, its client's windows, their heads first, its candidate's windows
  ARGV  1 epoch  2 slack  3 lease TTL  4 TTL of the mark of a settled one (ms)
        5… four for each lease: it as the script had it (lib/lease); "x" where it was settled, else ""; its packed client
        windows; those of the candidate; units as used
  Reply how many were charged again; -1 = another epoch by now
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/lease"
--- @include "lib/client_windows"
local meta = redis.call('HMGET', KEYS[1], 'epoch', 't')
if meta[1] ~= ARGV[1] then
  return -1
end
slack = ARGV[2] + 0
local now, ttl, again, at = clock(meta[2]), tonumber(ARGV[3]), 0, 2

local function put_back(w, place, also, lease, open)
  if w.kind == 's' then
    if place > now - w.span - slack then
      read_head(w, now)
      w.nb, w.place = 0, place
      rules_of(w).charge(w, now)
    end
  elseif w.kind == 'b' or w.kind == 'm' then
    add(w, now, w.units) -- as if nothing had drained; as if it ended now
  elseif w.kind == 'c' then
    redis.call('HINCRBY', w.key, text(place), w.units)
    if also ~= 0 then
      redis.call('HINCRBY', w.key, text(also), w.units)
    end
    redis.call('PEXPIRE', w.key, w.after - now + 2 * 86400000)
  elseif open then
    redis.call('ZADD', w.key, now + ttl, lease)
    redis.call('PEXPIRE', w.key, ttl)
  end
end

for i = 5, #ARGV, 4 do
  local key, packed, open = KEYS[at], ARGV[i], ARGV[i + 1] == ''
  local client, clients, after, heads = windows_of_client(ARGV[i + 2], at + 1)
  local list, count = windows(ARGV[i + 3], after)
  at = after + count
  if redis.call('EXISTS', key) == 0 then
    local lease = read_lease(packed)
    for n = 1, clients + count do
      local w, from = client[n] or list[n - clients], HEADS + EACH * (n - 1)
      if lease[from + 1] ~= -1 and w.units > 0 then
        put_back(w, lease[from + 1], lease[from + 2], id_of(key), open)
      end
    end
    write_heads(heads)
    if open then
      redis.call('SET', key, packed, 'PX', ttl)
    else
      redis.call('SET', key, 'x', 'PX', ARGV[4])
    end
    again = again + 1
  end
end
return again
