--[[ lib/fast_charge: a client's sliding windows with plenty of room. To make a window of each, and to charge it by the rules of
  its kind, took half as long again.

  lease  where the numbers of the lease go (given); now: the instant of the charges (given)
  after  heads as they will be: limit, h; two for each
  older  sub-buckets that go to a key of their own: key, end, units, ms from now it shall live or 0; four for each
]]
--- @include "lib/window"
local function planned(lease, now)
  local after, afters = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }, 0
  local older, olders = { nil, nil, nil, nil, nil, nil, nil, nil }, 0

  --- Plans the charge of a window that has plenty of room, as most have: of it nothing is made but its part of the lease, and
  --- what charge_planned writes. False where it has not, or hangs on more than its head.
  local function plan(head, limit, most, span, units, key, n)
    local used, q, swept, expires, nb, nu, newest, here = struct.unpack(HEAD, head)
    local grain, since = width(most, span), now - swept
    local stop = ceil((floor(now / grain) + 1) * grain)
    used, q = used + units, q + units
    if used > most or stop < newest or since > span or since > span / 16 and used * 16 > most or units == 0 then
      return false
    end
    if stop == newest then
      here = here + units
    else
      if here > 0 then
        local before = expires
        expires = prolonged(before, span)
        local lives = expires ~= before and expires - wall or 0
        older[olders + 1], older[olders + 2], older[olders + 3], older[olders + 4] = key, newest, here, lives
        olders = olders + 4
      end
      newest, here = stop, units
    end
    after[afters + 1], after[afters + 2] = limit, struct.pack(HEAD, used, q, swept, expires, nb, nu, newest, here)
    afters = afters + 2
    lease[n + 1], lease[n + 2], lease[n + 3], lease[n + 4], lease[n + 5] = stop, 0, units, q, used
    return true
  end

  --- Charges what was planned; write_heads then writes it.
  local function charge_planned(heads)
    for i = 1, olders, 4 do
      redis.call('HSET', older[i], text(older[i + 1]), text(older[i + 2]))
      if older[i + 3] > 0 then
        redis.call('PEXPIRE', older[i], text(older[i + 3]))
      end
    end
    for i = 1, heads.n do -- of those that are not planned
      after[afters + i] = heads.words[i]
    end
    heads.words, heads.n = after, afters + heads.n
  end
  return { plan = plan, charge_planned = charge_planned }
end
