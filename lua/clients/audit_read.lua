--[[ clients/audit_read: reads a page of the audit log, the newest entry first.

  KEYS  1 audit log
  ARGV  1 "+" for the newest, else "(" and the id of the last entry of the page before  2 entries at most
  Reply {id, actor, action, subject, before, after, address, …}
]]
local FROM, COUNT = 1, 2 -- ARGV

local reply = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[FROM], '-', 'COUNT', ARGV[COUNT])) do
  local id, flat, fields = entry[1], entry[2], {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  reply[#reply + 1] = id
  for _, name in ipairs({ 'actor', 'action', 'subject', 'before', 'after', 'address' }) do
    reply[#reply + 1] = fields[name] or ''
  end
end
return reply
