--[[ discovery/findings_write: writes what one replica has found in a provider's list of models, for all replicas.

  KEYS  1 meta  2 pk: of the provider keys (provider_keys/provider_key_write); a new version makes replicas read again
        3 found: hash, <provider> = findings (JSON), or allow: hash, <provider>/<account> = "millionths instant" ("unknown" in
        place of millionths that were not reported); bounded by providers and accounts  4 queue, as a channel
  ARGV  1 the field  2 its value  3 "1" = replicas have to read it now
  Reply 1
]]
--- @include "lib/time"
local PROVIDER_KEYS, FOUND, QUEUE = 2, 3, 4 -- KEYS
local PROVIDER, FINDINGS, IS_NEWS = 1, 2, 3 -- ARGV

redis.call('HSET', KEYS[FOUND], ARGV[PROVIDER], ARGV[FINDINGS])
if ARGV[IS_NEWS] == '1' then
  local now = wall_clock()
  local version = math.max(now, tonumber(redis.call('HGET', KEYS[PROVIDER_KEYS], 'v') or 0) + 1)
  redis.call('HSET', KEYS[PROVIDER_KEYS], 'v', string.format('%.0f', version))
  redis.call('PUBLISH', KEYS[QUEUE], string.format('provider_keys %.0f', version))
end
return 1
