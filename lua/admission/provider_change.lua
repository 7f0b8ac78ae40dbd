--[[ admission/provider_change: notes the address, keys and models of each provider. Where they differ from those noted before,
  the provider's breakers are closed and its cooldowns end: they speak of what it was.

  KEYS  1 meta  2 health  3-7 the wait queue (lib/queue_keys)
  ARGV  of each provider: its id, and a digest of its configuration, kept in meta as "cfg:<provider>"
  Reply the ids of the providers that have changed, separated by blanks
]]
--- @include "lib/pool_clock"
--- @include "lib/breaker"
--- @include "lib/cooldown"
--- @include "lib/provider_reset"
--- @include "lib/queue_keys"
--- @include "lib/wait_queue"
local META, HEALTH, QUEUE = 1, 2, 3 -- KEYS

local now = pool_clock(KEYS[META])
local changed = {}
for i = 1, #ARGV, 2 do
  local provider, digest = ARGV[i], ARGV[i + 1]
  local field = 'cfg:' .. provider
  local before = redis.call('HGET', KEYS[META], field)
  if before ~= digest then
    redis.call('HSET', KEYS[META], field, digest)
  end
  if before and before ~= digest then
    reset_provider(KEYS[HEALTH], provider, true, now)
    changed[#changed + 1] = provider
  end
end
for i = 1, #changed do
  wait_queue().notify_provider(queue_keys(QUEUE), changed[i], now)
end
return table.concat(changed, ' ')
