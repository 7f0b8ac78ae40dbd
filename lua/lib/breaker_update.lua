--[[ lib/breaker_update: what the end of an attempt does to a breaker. Behind lib/breaker. ]]
--- @include "lib/breaker"
--- One verdict ("good", "failed", "nothing") on one breaker by a lease that carries its generation.
--- rules = { fails to open, wins to close, ms open }. Returns true where the breaker changed.
local function judge(health, field, value, gen, was_probe, verdict, rules, now)
  local b = read_breaker(value)
  if b.gen ~= gen then
    return false
  end
  if b.till == 0 then
    if verdict == 'failed' then
      b.fails = b.fails + 1
      if b.fails >= rules[1] then
        b.gen, b.fails, b.wins, b.probe, b.till = b.gen + 1, 0, 0, 0, now + rules[3]
      end
    elseif verdict == 'good' and b.fails > 0 then
      b.fails = 0
    else
      return false
    end
  elseif was_probe then
    b.gen, b.probe = b.gen + 1, 0
    if verdict == 'failed' then
      b.wins, b.till = 0, now + rules[3]
    elseif verdict == 'good' then
      b.wins = b.wins + 1
      if b.wins >= rules[2] then
        b.till, b.wins, b.fails = 0, 0, 0
      end
    end
  else
    return false
  end
  write_breaker(health, field, b, now)
  return true
end
