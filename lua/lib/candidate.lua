--[[ lib/candidate: a packed candidate, as `admit` and `settle` receive it.

  "p \t b \t k \t m \t a \t model \t scope \t windows": its fields of `health` (lib/breaker, lib/cooldown), its model, whether it
  queues by account (a) or by account and model (m), and its packed windows (lib/window).
]]
local function parse_candidate(packed)
  local provider, breaker_field, key, of_model, of_account, model, scope, spec =
    string.match(packed, '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(%a)\t(.*)$')
  return {
    fields = { provider, breaker_field, key, of_model, of_account }, model = model, spec = spec,
    queue = scope == 'a' and of_account or of_model,
    -- Set while it is evaluated; here, because a table that grows is copied.
    number = nil, shares_key = nil, earliest = nil, reason = nil, limit_max = nil, exact = nil, is_estimate = nil, list = nil,
    shares = nil, breakers = nil, probes = nil, tag = nil,
  }
end
