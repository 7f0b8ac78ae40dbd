--[[ lib/fair_sums: sums over all active clients of a queue, in the field "=" of its fair shares (lib/fair_shares).

  "0", then for each window "|name;at exact_until weights clients unmet used": when they were computed; until when no charge
  leaves the window and no claim lapses; the weights of the active clients, and how many they are; what all of them may still
  claim; and the units in the window when they were computed. A request, a grant or a correction that changes a claim changes
  `unmet` by as much. (Replicas of an earlier version read "0" as the time of the sums, and compute them again.)
]]
--- @include "lib/fair_shares"
local FRESH_PART, MAX_FRESH_MS = 1 / 64, 1000 -- the greatest age of sums, of the span and in ms
local CLAIM_KEPT_MS = 2000 -- a claim of a client that asks no more is lent after this time, or after two of its intervals
local MAX_COMPARED = 128 -- with more active clients, sums may be as old as fresh_ms allows, whatever leaves the window meanwhile

local function parse_sums(text)
  local sums = { rpm = nil, tpm = nil, itpm = nil }
  for name, at, exact_until, weights, clients, unmet, used in
    string.gmatch(text, '|(.-);(%d+) (%d+) (%d+) (%d+) ([%d.]+) (%d+)') do
    sums[name] = {
      at = at + 0, exact_until = exact_until + 0, weights = weights + 0, clients = clients + 0, unmet = unmet + 0,
      used = used + 0,
    }
  end
  return sums
end

local function pack_sums(sums)
  local text = '0'
  for name, sum in pairs(sums) do
    text = text .. format('|%s;%d %d %d %d %.3f %d', name, sum.at, sum.exact_until, sum.weights, sum.clients, sum.unmet, sum.used)
  end
  return text
end

--- How old the sums of a window may be, in ms.
local function fresh_ms(w, clients)
  return clients > MAX_COMPARED and w.span * FRESH_PART or min(MAX_FRESH_MS, w.span * FRESH_PART)
end

local function is_active(demand)
  return demand.requested + demand.requested_before > 0
end

--- How long a client's claims are kept after its last request, in ms.
local function kept_ms(of_client)
  return max(CLAIM_KEPT_MS, 2 * of_client.interval)
end

--- Units that a client may claim of its share: what it requested within about the last span, less what it was granted of it
--- that still counts. What left the window is claimed again at once, by whoever asks. weights: of all active clients.
local function claim(of_client, demand, w, now, weights)
  if not is_active(demand) or now - of_client.last > kept_ms(of_client) then
    return 0
  end
  local requested = demand.requested + demand.requested_before * (1 - now % w.span / w.span)
  local counted = (w.span + arrival_slack + sub_bucket_ms(w.max, w.span)) / w.span -- spans for which a charge counts
  return max(0, min(w.max * of_client.weight / weights, requested * counted + 1) - demand.live)
end

--- Counts the change of one client's claim in the sum of a window. Returns whether it must be stored: a client below its share
--- that is granted what it requested changes its claim by a percent, since a charge counts for slightly more than a span.
local function adjust_unmet(sum, w, change)
  sum.unmet = max(0, sum.unmet + change)
  return math.abs(change) > math.abs(w.units) * 0.02
end
