--[[ reports/display_names: what some members' records say of them, for people.

  KEYS  members' records
  Reply for each its `rec` (JSON); "" where there is none
]]
local reply = {}
for i = 1, #KEYS do
  reply[i] = redis.call('HGET', KEYS[i], 'rec') or ''
end
return reply
