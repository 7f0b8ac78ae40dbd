--[[ lib/stored_response: how the responses of a client are stored.

  resp:<client>  hash of its responses: "p<id>" the id of the response before it, "i<id>" its own input items, "o<id>" its
                 object, "n<id>" the bytes of both, "u<id>" the instant until which it is kept; and "bytes", the sum of all n
  resp:<client>:until  sorted set of the ids by that instant
]]

--- Forgets a response. Returns the bytes that it had.
local function forget_response(responses, by_expiry, id)
  local bytes = tonumber(redis.call('HGET', responses, 'n' .. id) or '0')
  redis.call('HDEL', responses, 'p' .. id, 'i' .. id, 'o' .. id, 'n' .. id, 'u' .. id)
  redis.call('ZREM', by_expiry, id)
  return bytes
end
