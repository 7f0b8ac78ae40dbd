--[[ admission/sync: compares the state in Redis with the one the caller knew, because a lost counter is not a full budget, and
  TIME with the caller's own clock, because a window that TIME has skipped is not empty.

  A pool that no caller has known is new and opens at once. A flushed, replaced, restarted or failed-over Redis, and one whose
  TIME has jumped, gets a new epoch, and for 500 ms admits nothing while every replica replays its leases
  (admission/replay_leases). After a jump, the pool's clock goes on by the new TIME with another offset (lib/clock).

  KEYS  1 meta: hash epoch, run, seq, t, hold, prev, kind, since, off, gap, clk; TTL 40 days, longer than any window
        since = when the epoch began; clk = how often `off` was corrected
  ARGV  1 epoch the caller knows, "" = none  2 highest sequence number it has seen  3 a new epoch  4 arrival slack in ms
        5 the pool's present instant by the caller's own clock, 0 = not known, "" = it has no clock of its own
        6 clk and off as the caller knows them  7 the offset from which on, instead of that one, TIME is right; "" = none
  Reply {epoch, sequence, now, ms for which nothing is admitted, since, clk, off, t, is_unsure}: leases since that instant are to
        be replayed, 0 = none. is_unsure = 1: TIME is too far from `t`, and the caller's clock does not say why; nothing
        has changed, and `now` is the instant by TIME and the present offset
]]
--- @include "lib/time"
local META = 1 -- KEYS
local KNOWN_EPOCH, SEEN, NEW_EPOCH, ARRIVAL_SLACK, EXPECTED, KNOWN_CLOCK, NEW_OFFSET = 1, 2, 3, 4, 5, 6, 7 -- ARGV
local HOLD_MS = 500
local RESTART_LOSS_MS = 3000 -- Redis writes its log once a second, so a crash can lose the last two
local LONGEST_REPLAY_MS = 60000 -- longer windows keep their counts, or open and learn from the provider's first refusal
local META_TTL_MS = 40 * 86400000
local MAX_GAP_MS = 1000 -- between two instants of the pool: every replica comes here several times a second

local state = redis.call('HMGET', KEYS[META], 'epoch', 'run', 'seq', 't', 'hold', 'prev', 'kind', 'off', 'gap', 'clk',
  'since')
local epoch, run, sequence, last, previous, kind = state[1], state[2], tonumber(state[3] or 0), state[4], state[6], state[7]
local hold_until, offset, gap, clk = tonumber(state[5] or 0), tonumber(state[8] or 0), state[9], tonumber(state[10] or 0)
local since = state[11] or ''
local known, seen = ARGV[KNOWN_EPOCH], tonumber(ARGV[SEEN])
local info = redis.pcall('INFO', 'server') -- an error where the user of Redis may not
local run_here = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or run or ''
last = tonumber(last or 0)

local known_clk, known_offset = string.match(ARGV[KNOWN_CLOCK] or '', '^(%d+) (%-?%d+)$')
known_clk, known_offset = tonumber(known_clk or 0), tonumber(known_offset or 0)
local expected, new_offset = ARGV[EXPECTED] or '', ARGV[NEW_OFFSET] or ''
if not epoch then
  offset, clk = known_offset, known_clk -- leases were made by this clock
end
local has_jumped = new_offset ~= '' and known_clk == clk
if has_jumped then
  offset, clk = tonumber(new_offset), clk + 1
end
local now = wall_clock() + offset
local is_comparable = expected ~= '' and (epoch or expected ~= '0')
if not has_jumped and is_comparable then
  local is_continuous = math.abs(now - last) <= MAX_GAP_MS
  if not is_continuous and math.abs(now - expected) > MAX_GAP_MS then
    return { epoch or '', sequence, now, 0, 0, clk, offset, last, 1 }
  end
end
now = math.max(now, last)

if not epoch then
  since, epoch, kind, previous, sequence = now, ARGV[NEW_EPOCH], known == '' and 'new' or 'flush', known, seen
  hold_until = known == '' and 0 or now + HOLD_MS
elseif has_jumped or run ~= run_here or known == epoch and sequence < seen then
  since, epoch, previous, sequence = now, ARGV[NEW_EPOCH], epoch, math.max(sequence, seen) + 1
  kind, hold_until = has_jumped and 'jump' or 'restart', now + HOLD_MS
elseif known ~= '' and known ~= epoch and kind == 'new' then
  kind, hold_until = 'flush', now + HOLD_MS -- a caller that knew no epoch opened the pool; the others have leases to replay
end
redis.call('HSET', KEYS[META], 'epoch', epoch, 'run', run_here, 'seq', sequence, 't', now, 'hold', hold_until, 'prev',
  previous or '', 'kind', kind, 'since', since, 'off', offset, 'clk', clk, 'gap', expected ~= '' and MAX_GAP_MS or gap or '')
redis.call('PEXPIRE', KEYS[META], META_TTL_MS)

local lost_since = 0
if known ~= '' and known ~= epoch then
  if kind == 'restart' and known == previous then
    lost_since = now - RESTART_LOSS_MS
  else
    lost_since = now - LONGEST_REPLAY_MS - tonumber(ARGV[ARRIVAL_SLACK])
  end
end
return { epoch, sequence, now, math.max(0, hold_until - now), lost_since, clk, offset, last, 0 }
