--[[ admission/control: what an operator changes at run time; binds every replica's next admission. Its audit entry is written with it.

  KEYS  1 meta  2 health  3 audit: stream, capped  4-8 the waiting room
  ARGV  1 "order", "off", "on" or "reset"  2 the order; the provider or provider/model; the provider
        3…8 the audit entry; what was before is filled in here
  Reply 1
]]
--- @include "lib/clock"
--- @include "lib/breaker"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
--- @include "lib/audit_entry"
local now, room = clock(redis.call('HGET', KEYS[1], 't')), waiting_room(4)
local what, subject = ARGV[1], ARGV[2]
local before = ''
if what == 'order' then
  before = redis.call('HGET', KEYS[1], 'order')
  before = before and '{"strategy":"' .. before .. '"}' or ''
  redis.call('HSET', KEYS[1], 'order', subject)
elseif what == 'off' or what == 'on' then
  local field = (string.find(subject, '/', 1, true) and 'b:' or 'p:') .. subject
  local b = read_breaker(redis.call('HGET', KEYS[2], field))
  before = '{"enabled":' .. (b.off == 1 and 'false' or 'true') .. '}'
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
  waiting().knock_provider(room, string.match(subject, '^[^/]*'), now)
end
audit(KEYS[3], 3, before)
return 1
