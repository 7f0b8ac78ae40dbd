--[[ lib/audit_entry: writes the audit log, one capped stream for the whole pool. An entry is written by the script that makes
  the change, so neither exists without the other.
]]

--- Adds the entry in ARGV[at] and the five after it: actor, action, subject, before and after (JSON or ""), address or "".
--- `before` replaces the caller's value where the script knows better.
local function write_audit_entry(key, at, before)
  redis.call('XADD', key, 'MAXLEN', '~', 10000, '*', 'actor', ARGV[at], 'action', ARGV[at + 1], 'subject', ARGV[at + 2],
    'before', before or ARGV[at + 3], 'after', ARGV[at + 4], 'address', ARGV[at + 5])
end
