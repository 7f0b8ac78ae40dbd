--[[ responses/response_put: stores a response of a client, and forgets its expired ones, and its oldest beyond the bound.

  KEYS  1 meta  2 resp:<client>  3 resp:<client>:until; both live until the last of their responses expires
  ARGV  1 id  2 id of the response before it, or ""  3 its own input items (JSON)  4 its object (JSON)  5 time to live in ms
        6 bytes of the client at most
  Reply 1; 0 = larger than the bound by itself, and not stored
]]
--- @include "lib/time"
--- @include "lib/stored_response"
local RESPONSES, BY_EXPIRY = 2, 3 -- KEYS
local ID, PREVIOUS, INPUT, OBJECT, LIFETIME, MAX_BYTES = 1, 2, 3, 4, 5, 6 -- ARGV

local now = wall_clock()
local id, responses, by_expiry = ARGV[ID], KEYS[RESPONSES], KEYS[BY_EXPIRY]
local size, max_bytes = #ARGV[INPUT] + #ARGV[OBJECT], tonumber(ARGV[MAX_BYTES])
if size > max_bytes then
  return 0
end
local bytes = tonumber(redis.call('HGET', responses, 'bytes') or '0') - forget_response(responses, by_expiry, id)
for _, expired in ipairs(redis.call('ZRANGEBYSCORE', by_expiry, '-inf', now)) do
  bytes = bytes - forget_response(responses, by_expiry, expired)
end
while bytes + size > max_bytes do
  local oldest = redis.call('ZRANGE', by_expiry, 0, 0)[1]
  if not oldest then
    bytes = 0
    break
  end
  bytes = bytes - forget_response(responses, by_expiry, oldest)
end
local keep_until = now + tonumber(ARGV[LIFETIME])
redis.call('HSET', responses, 'p' .. id, ARGV[PREVIOUS], 'i' .. id, ARGV[INPUT], 'o' .. id, ARGV[OBJECT], 'n' .. id, size,
  'u' .. id, keep_until, 'bytes', bytes + size)
redis.call('ZADD', by_expiry, keep_until, id)
redis.call('PEXPIRE', responses, ARGV[LIFETIME])
redis.call('PEXPIRE', by_expiry, ARGV[LIFETIME])
return 1
