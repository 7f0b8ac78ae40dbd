--[[ discovery/claim: claims a piece of work that one replica does for all.

  KEYS  1 claim:<work>: string, the replica that has claimed it; its TTL is what remains of the claim
  ARGV  1 replica  2 ms for which the claim holds
  Reply 1 = it is the caller's; 0 = another replica has it
]]
local REPLICA, LASTS = 1, 2 -- ARGV

if redis.call('SET', KEYS[1], ARGV[REPLICA], 'PX', ARGV[LASTS], 'NX') then
  return 1
end
return redis.call('GET', KEYS[1]) == ARGV[REPLICA] and 1 or 0
