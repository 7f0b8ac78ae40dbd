--[[ lib/breaker: circuit breakers and switches, fields of the hash `health` beside the cooldowns (lib/cooldown).

  p:<provider>, b:<provider>/<model>  "generation failures successes until probe touched off"; absent: closed, all 0

  A breaker is closed (until = 0), open (now < until), or half-open (now >= until): then it admits one probe at a time;
  probe = deadline of the one that is running, or 0. Each change of state raises the generation, and an outcome of another
  generation is ignored: a late outcome can neither reopen nor close it. off = 1: switched off by an operator.
]]
local function parse_breaker(value)
  if not value then
    return { generation = 0, failures = 0, successes = 0, open_until = 0, probe_until = 0, off = 0 }
  end
  local generation, failures, successes, open_until, probe_until, off =
    string.match(value, '(%d+) (%d+) (%d+) (%d+) (%d+) %d+ (%d)')
  return {
    generation = generation + 0, failures = failures + 0, successes = successes + 0, open_until = open_until + 0,
    probe_until = probe_until + 0, off = off + 0,
  }
end

local function write_breaker(health, field, b, now)
  local value = string.format('%d %d %d %d %d %d %d', b.generation, b.failures, b.successes, b.open_until, b.probe_until,
    now, b.off)
  redis.call('HSET', health, field, value)
end
