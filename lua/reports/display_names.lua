--[[ reports/display_names: the settings of some clients, from which a report takes their names.

  KEYS  m:<id> of the records (clients/client_write)
  Reply for each its `rec` (JSON); "" where it is missing
]]
local reply = {}
for i = 1, #KEYS do
  reply[i] = redis.call('HGET', KEYS[i], 'rec') or ''
end
return reply
