--[[ discovery/model_refused: notes for all replicas that a provider has answered not to have a model, or that it is served again.

  KEYS  1 meta  2 pk: of the provider keys (provider_keys/provider_key_write); a new version makes replicas read again
        3 gone: hash, <provider>/<model> = "since until cause"; swept here  4 queue, as a channel
  ARGV  1 ms for which the model is not served, 0 = it is served again  2 the cause  3… provider/model
  Reply the number of models whose state has changed by this call
]]
--- @include "lib/clock"
local META, PROVIDER_KEYS, GONE, QUEUE = 1, 2, 3, 4 -- KEYS
local LASTS, CAUSE, FIRST_MODEL = 1, 2, 3 -- ARGV
local REMEMBERED_MS = 7 * 86400000 -- after its end; a model that is refused again meanwhile keeps its first date

local now = clock(redis.call('HGET', KEYS[META], 't'))
local changed = 0
for i = FIRST_MODEL, #ARGV do
  local before = redis.call('HGET', KEYS[GONE], ARGV[i])
  local since, ends_at = string.match(before or '', '^(%d+) (%d+) ')
  if ARGV[LASTS] == '0' then
    changed = changed + redis.call('HDEL', KEYS[GONE], ARGV[i])
  elseif not ends_at or ends_at + 0 <= now then
    local entry = string.format('%.0f %.0f %s', since or now, now + ARGV[LASTS], ARGV[CAUSE])
    redis.call('HSET', KEYS[GONE], ARGV[i], entry)
    changed = changed + 1
  end
end
if changed > 0 then
  local all = redis.call('HGETALL', KEYS[GONE])
  for i = 1, #all, 2 do
    if string.match(all[i + 1], '^%d+ (%d+)') + REMEMBERED_MS <= now then
      redis.call('HDEL', KEYS[GONE], all[i])
    end
  end
  local version = math.max(now, tonumber(redis.call('HGET', KEYS[PROVIDER_KEYS], 'v') or 0) + 1)
  redis.call('HSET', KEYS[PROVIDER_KEYS], 'v', string.format('%.0f', version))
  redis.call('PUBLISH', KEYS[QUEUE], string.format('provider_keys %.0f', version))
end
return changed
