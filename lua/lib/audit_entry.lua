--[[ lib/audit_entry: who changed what. One stream for the whole pool, capped; an entry is written by the script that makes the
  change, so neither is ever there without the other.
]]

--- Adds the entry of ARGV[at…]: actor, action, subject, before and after (JSON or ""), address ("" where there is none).
--- `before`, where the script knows better than its caller.
local function audit(key, at, before)
  redis.call('XADD', key, 'MAXLEN', '~', 10000, '*', 'actor', ARGV[at], 'action', ARGV[at + 1], 'subject', ARGV[at + 2],
    'before', before or ARGV[at + 3], 'after', ARGV[at + 4], 'address', ARGV[at + 5])
end
