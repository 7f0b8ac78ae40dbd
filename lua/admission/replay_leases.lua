--[[ admission/replay_leases: charges again what a lost state has forgotten. A lease that is still there is passed over. After a
  jump of TIME, windows that have outlived it are passed over instead: they and leases expire at different instants.

  KEYS  1 meta; then for each lease: its key, its client's windows after their heads, its candidate's windows
  ARGV  1 epoch  2 the epoch that the caller knew before  3 arrival slack  4 TTL of a lease  5 TTL of the mark that a lease
        was settled (all in ms)
        6… four for each lease: the packed lease (lib/lease); "x" where it was settled, else ""; its packed client windows;
          its candidate's packed windows; units as used
  Reply how many were charged again; -1 = another epoch by now
]]
--- @include "lib/clock"
--- @include "lib/window"
--- @include "lib/window_kinds"
--- @include "lib/client_windows"
--- @include "lib/lease"
local META, FIRST_LEASE = 1, 2 -- KEYS
local EPOCH, KNOWN_EPOCH, ARRIVAL_SLACK, LEASE_TTL, SETTLED_TTL, FIRST_RECORD, RECORD_FIELDS = 1, 2, 3, 4, 5, 6, 4 -- ARGV

local meta = redis.call('HMGET', KEYS[META], 'epoch', 't', 'off', 'gap', 'kind', 'prev', 'since')
if meta[1] ~= ARGV[EPOCH] then
  return -1
end
local now, ttl = clock(meta[2], meta[3], meta[4]), tonumber(ARGV[LEASE_TTL])
arrival_slack = ARGV[ARRIVAL_SLACK] + 0
local has_jumped = meta[5] == 'jump'
local survivors_total = has_jumped and meta[6] == ARGV[KNOWN_EPOCH] and initial_total(meta[7] + 0) or 0

--- Whether the window is older than the epoch: a jump of TIME did not let it expire, so its charges still count. One of these
--- that was charged more than a hundred units per ms is taken for a new one, and its charges count twice.
local function has_survived(w)
  if survivors_total == 0 or w.kind == 'n' then
    return false
  elseif w.kind == 's' or w.kind == 'm' then
    read_head(w, now)
    return w.charged_total < survivors_total
  end
  local total = redis.call('HGET', w.key, 'q')
  return total and total + 0 < survivors_total
end

--- Lets the key of a window that has survived live as long as its content by the new TIME.
local function keep(w)
  if w.kind == 's' or w.kind == 'm' then
    extend_key(w)
    write_head(w)
  elseif w.kind == 'b' then
    w.units = 0
    rules_of(w).check(w, now, 0)
    rules_of(w).charge(w, now)
  end
end

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
  local existing = redis.call('GET', key)
  if has_jumped or not existing then
    local is_settled = existing == 'x'
    local lease, is_changed = unpack_lease(existing and not is_settled and existing or packed), false
    for i = 1, clients + count do
      local w = of_client[i] or windows[i - clients]
      local position, second_position = lease_charge(lease, i)
      local was_charged = position ~= -1 and w.units > 0
      if was_charged and has_survived(w) then
        keep(w)
      elseif was_charged then
        restore(w, position, second_position, lease_id(key), is_open)
        if w.kind == 'b' then
          forget_total(lease, i)
          is_changed = true
        end
      end
    end
    write_client_heads(heads)
    if not existing then
      redis.call('SET', key, is_open and pack_lease(lease, #packed / 8) or 'x', 'PX', is_open and ttl or ARGV[SETTLED_TTL])
      charged = charged + 1
    elseif is_changed and not is_settled then
      redis.call('SET', key, pack_lease(lease, #packed / 8), 'KEEPTTL')
    end
  end
end
return charged
