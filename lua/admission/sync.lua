--[[ admission/sync: is the state behind this host still the one the caller knew? Missing counters are not a full budget.

  A pool that no caller has known is new and opens at once. A flushed, replaced, restarted or failed-over Redis gets a
  new epoch, and for 500 ms nobody is admitted while every replica repeats its leases (`repeat`).

  KEYS  1 meta: hash epoch, run, seq, t, hold, prev, kind; TTL 40 days, longer than any window
  ARGV  1 epoch the caller knows, "" = none  2 highest sequence it has seen  3 a fresh epoch  4 slack in ms
  Reply {epoch, sequence, now, ms of the hold left, since}: leases since that instant are to be repeated; 0 = none
]]
--- @include "lib/clock"
local HOLD = 500
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'seq', 't', 'hold', 'prev', 'kind')
local epoch, run, seq, prev, kind = state[1], state[2], tonumber(state[3] or 0), state[6], state[7]
local known, seen = ARGV[1], tonumber(ARGV[2])
local here = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local now = clock(state[4])
local hold = tonumber(state[5] or 0)

if not epoch then
  epoch, kind, prev = ARGV[3], known == '' and 'new' or 'flush', known
  seq = seen
  hold = known == '' and 0 or now + HOLD
elseif run ~= here or known == epoch and seq < seen then
  epoch, kind, prev = ARGV[3], 'restart', epoch
  seq = math.max(seq, seen) + 1
  hold = now + HOLD
elseif known ~= '' and known ~= epoch and kind == 'new' then
  kind, hold = 'flush', now + HOLD -- somebody who knew nothing opened it; the others still have much to tell
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', here, 'seq', seq, 't', now, 'hold', hold, 'prev', prev or '', 'kind', kind)
redis.call('PEXPIRE', KEYS[1], 40 * 86400000)

local since = 0
if known ~= '' and known ~= epoch then
  if kind == 'restart' and known == prev then
    since = now - 3000
  else
    since = now - 60000 - tonumber(ARGV[4])
  end
end
return { epoch, seq, now, math.max(0, hold - now), since }
