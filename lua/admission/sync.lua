--[[ admission/sync: compares the state in Redis with the one the caller knew, because a lost counter is not a full budget.

  A pool that no caller has known is new and opens at once. A flushed, replaced, restarted or failed-over Redis gets a new
  epoch, and for 500 ms admits nothing while every replica replays its leases (admission/replay_leases).

  KEYS  1 meta: hash epoch, run, seq, t, hold, prev, kind; TTL 40 days, longer than any window
  ARGV  1 epoch the caller knows, "" = none  2 highest sequence number it has seen  3 a new epoch  4 arrival slack in ms
  Reply {epoch, sequence, now, ms for which nothing is admitted, since}: leases since that instant are to be replayed; 0 =
        none
]]
--- @include "lib/clock"
local META = 1 -- KEYS
local KNOWN_EPOCH, SEEN, NEW_EPOCH, ARRIVAL_SLACK = 1, 2, 3, 4 -- ARGV
local HOLD_MS = 500
local RESTART_LOSS_MS = 3000 -- Redis writes its log once a second, so a crash can lose the last two
local LONGEST_REPLAY_MS = 60000 -- longer windows keep their counts, or open and learn from the provider's first refusal
local META_TTL_MS = 40 * 86400000

local state = redis.call('HMGET', KEYS[META], 'epoch', 'run', 'seq', 't', 'hold', 'prev', 'kind')
local epoch, run, sequence, last, previous, kind = state[1], state[2], tonumber(state[3] or 0), state[4], state[6], state[7]
local hold_until = tonumber(state[5] or 0)
local known, seen = ARGV[KNOWN_EPOCH], tonumber(ARGV[SEEN])
local run_here = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local now = clock(last)

if not epoch then
  epoch, kind, previous, sequence = ARGV[NEW_EPOCH], known == '' and 'new' or 'flush', known, seen
  hold_until = known == '' and 0 or now + HOLD_MS
elseif run ~= run_here or known == epoch and sequence < seen then
  epoch, kind, previous, sequence = ARGV[NEW_EPOCH], 'restart', epoch, math.max(sequence, seen) + 1
  hold_until = now + HOLD_MS
elseif known ~= '' and known ~= epoch and kind == 'new' then
  kind, hold_until = 'flush', now + HOLD_MS -- a caller that knew no epoch opened the pool; the others have leases to replay
end
redis.call('HSET', KEYS[META], 'epoch', epoch, 'run', run_here, 'seq', sequence, 't', now, 'hold', hold_until, 'prev',
  previous or '', 'kind', kind)
redis.call('PEXPIRE', KEYS[META], META_TTL_MS)

local since = 0
if known ~= '' and known ~= epoch then
  if kind == 'restart' and known == previous then
    since = now - RESTART_LOSS_MS
  else
    since = now - LONGEST_REPLAY_MS - tonumber(ARGV[ARRIVAL_SLACK])
  end
end
return { epoch, sequence, now, math.max(0, hold_until - now), since }
