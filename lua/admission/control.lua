--[[ admission/control: applies a change that an operator makes at run time, with its audit entry. It binds every replica's next
  admission.

  KEYS  1 meta  2 health  3 audit log: stream, capped  4-8 the wait queue (lib/queue_keys)
  ARGV  1 "order" (the strategy), "off", "on", "reset" or "forget" (a learned limit)  2 the strategy; the provider or
          provider/model; the provider; "field limit", a field of `health` (lib/cooldown)
        3…8 the audit entry; its `before` is filled in here
  Reply 1
]]
--- @include "lib/pool_clock"
--- @include "lib/breaker"
--- @include "lib/cooldown"
--- @include "lib/provider_reset"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
--- @include "lib/audit_entry"
local META, HEALTH, AUDIT, QUEUE = 1, 2, 3, 4 -- KEYS
local CHANGE, SUBJECT, AUDIT_ENTRY = 1, 2, 3 -- ARGV

local now = pool_clock(KEYS[META])
local change, subject, before = ARGV[CHANGE], ARGV[SUBJECT], ''
if change == 'order' then
  local strategy = redis.call('HGET', KEYS[META], 'order')
  before = strategy and '{"strategy":"' .. strategy .. '"}' or ''
  redis.call('HSET', KEYS[META], 'order', subject)
elseif change == 'off' or change == 'on' then
  local field = (string.find(subject, '/', 1, true) and 'b:' or 'p:') .. subject
  local b = parse_breaker(redis.call('HGET', KEYS[HEALTH], field))
  before = '{"enabled":' .. (b.off == 1 and 'false' or 'true') .. '}'
  b.off = change == 'off' and 1 or 0
  write_breaker(KEYS[HEALTH], field, b, now)
elseif change == 'forget' then
  local field, forgotten = string.match(subject, '^(.*) (%a+)$')
  local cooldown_until, cause, limits = parse_cooldown(redis.call('HGET', KEYS[HEALTH], field))
  local kept = {}
  for limit, max_units, rest in string.gmatch(limits, '(%a+)=(%d+)(%S*)') do
    if limit == forgotten then
      before = '{"max":' .. max_units .. '}'
    else
      kept[#kept + 1] = limit .. '=' .. max_units .. rest
    end
  end
  redis.call('HSET', KEYS[HEALTH], field, string.format('%.0f %s|%s', cooldown_until, cause, table.concat(kept, ' ')))
  subject = string.sub(field, 3)
else
  reset_provider(KEYS[HEALTH], subject, false, now)
end
if change == 'on' or change == 'reset' or change == 'forget' then
  wait_queue().notify_provider(queue_keys(QUEUE), string.match(subject, '^[^/]*'), now)
end
write_audit_entry(KEYS[AUDIT], AUDIT_ENTRY, before)
return 1
