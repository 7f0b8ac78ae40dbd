--[[ responses/response_delete: deletes a stored response of a client.

  KEYS  1 resp:<client>  2 resp:<client>:until
  ARGV  1 id
  Reply 1; 0 = it is not stored
]]
--- @include "lib/stored_response"
local RESPONSES, BY_EXPIRY = 1, 2 -- KEYS
local ID = 1 -- ARGV

if redis.call('HEXISTS', KEYS[RESPONSES], 'o' .. ARGV[ID]) == 0 then
  return 0
end
local bytes = forget_response(KEYS[RESPONSES], KEYS[BY_EXPIRY], ARGV[ID])
redis.call('HINCRBY', KEYS[RESPONSES], 'bytes', -bytes)
return 1
