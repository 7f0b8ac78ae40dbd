--[[ clients/audit_read: reads who changed what, the newest first.

  KEYS  1 audit
  ARGV  1 "+" for the newest, else "(" and the id of the last entry on the page before  2 how many
  Reply {id, actor, action, subject, before, after, address, …}
]]
local reply = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])) do
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  reply[#reply + 1] = entry[1]
  for _, name in ipairs({ 'actor', 'action', 'subject', 'before', 'after', 'address' }) do
    reply[#reply + 1] = fields[name] or ''
  end
end
return reply
