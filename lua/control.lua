--[[ control: what an operator changes at run time; binds every replica's next admission.

  KEYS  1 meta  2 health  3-7 the waiting room
  ARGV  1 "order", "off", "on" or "reset"  2 the order; the provider or provider/model; the provider
  Reply 1
]]
local now, room = clock(redis.call('HGET', KEYS[1], 't')), waiting_room(3)
local what, subject = ARGV[1], ARGV[2]
if what == 'order' then
  redis.call('HSET', KEYS[1], 'order', subject)
elseif what == 'off' or what == 'on' then
  local field = (string.find(subject, '/', 1, true) and 'b:' or 'p:') .. subject
  local b = read_breaker(redis.call('HGET', KEYS[2], field))
  b.off = what == 'off' and 1 or 0
  write_breaker(KEYS[2], field, b, now)
else
  local health = redis.call('HGETALL', KEYS[2])
  for i = 1, #health, 2 do
    local kind, of = string.match(health[i], '^(%a+):([^/]+)')
    if of == subject and (kind == 'p' or kind == 'b') then
      local b = read_breaker(health[i + 1])
      b.gen, b.fails, b.wins, b.till, b.probe = b.gen + 1, 0, 0, 0, 0
      write_breaker(KEYS[2], health[i], b, now)
    elseif of == subject then
      redis.call('HDEL', KEYS[2], health[i])
    end
  end
end
if what == 'on' or what == 'reset' then
  knock_provider(room, string.match(subject, '^[^/]*'), now)
end
return 1
