--[[ lib/breaker: breakers and switches: fields of the hash `health`, beside what lib/cooldown reads.

  p:<provider>, b:<provider>/<model>   "generation fails wins until probe touched off"; absent: closed, 0, on

  A breaker is closed (until = 0), open (now < until), or half-open (now >= until): then it lets one probe through at a
  time; probe = deadline of the one under way, 0 for none. Every change of state raises the generation; an outcome
  that carries another one is ignored, so late news of before can neither reopen nor close. off = 1: switched off.
]]
local function read_breaker(value)
  if not value then
    return { gen = 0, fails = 0, wins = 0, till = 0, probe = 0, off = 0 }
  end
  local gen, fails, wins, till, probe, off = string.match(value, '(%d+) (%d+) (%d+) (%d+) (%d+) %d+ (%d)')
  return { gen = gen + 0, fails = fails + 0, wins = wins + 0, till = till + 0, probe = probe + 0, off = off + 0 }
end

local function write_breaker(health, field, b, now)
  local value = string.format('%d %d %d %d %d %d %d', b.gen, b.fails, b.wins, b.till, b.probe, now, b.off)
  redis.call('HSET', health, field, value)
end
