--[[ provider_keys/provider_key_read: reads the records of all provider keys that were added at run time.

  KEYS  1 pk: the records (provider_keys/provider_key_write)
  Reply {version, id, record, …}; the version is text, "0" = there was never a key
]]
local fields = redis.call('HGETALL', KEYS[1])
local reply = { '0' }
for i = 1, #fields, 2 do
  if fields[i] == 'v' then
    reply[1] = fields[i + 1]
  else
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = fields[i + 1]
  end
end
return reply
