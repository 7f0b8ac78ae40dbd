--[[ clients/thought_signatures: what a provider wants back with a tool call, kept by the id of the call for every replica.

  KEYS  1… sig:<digest of client and call>: string
  ARGV  to keep: 1 lifetime in ms  2… the signature of each key; to find: none
  Reply to keep: how many were kept; to find: the signature of each key, or an empty string
]]
local LIFETIME, FIRST_SIGNATURE = 1, 2 -- ARGV

if #ARGV == 0 then
  local found = {}
  for k = 1, #KEYS do
    found[k] = redis.call('GET', KEYS[k]) or ''
  end
  return found
end
for k = 1, #KEYS do
  redis.call('SET', KEYS[k], ARGV[FIRST_SIGNATURE + k - 1], 'PX', ARGV[LIFETIME])
end
return #KEYS
