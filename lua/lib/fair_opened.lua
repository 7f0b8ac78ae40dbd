--[[ lib/fair_opened: what a call reads and changes of fair shares (lib/fair_shares), for all of its requests. ]]
--- @include "lib/fair_shares"
--- @include "lib/fair_sums"

--- What the requests of this call have read, by key: own = demand by client, has_all = of all clients, changed = of which it
--- is not written yet, sums (lib/fair_sums), have_sums_changed.
local opened = {}

--- One client's view of the shares of a queue; its own demand is parsed where it decides.
local function open_shares(key, queue, model, client)
  local common, own_text = opened[key], nil
  if not common then
    local stored = redis.call('HMGET', key, client, '=')
    own_text = stored[1]
    common = { own = {}, has_all = false, changed = {}, sums_text = stored[2], sums = nil, have_sums_changed = false }
    opened[key] = common
  end
  return { key = key, queue = queue, model = model, client = client, own_text = own_text, common = common }
end

local function sums_by_name(common)
  common.sums = common.sums or parse_sums(common.sums_text or '')
  return common.sums
end

--- The demand of a client.
local function demand_of(shares, client)
  local own = shares.common.own
  local demand = own[client]
  if not demand then
    local text = client == shares.client and shares.own_text
    if not text and not shares.common.has_all then
      text = redis.call('HGET', shares.key, client)
    end
    demand = parse_demand(text or '')
    own[client] = demand
  end
  return demand
end

--- Writes the demand and the sums that this call has changed.
local function write_changed_demand()
  for key, common in pairs(opened) do
    local fields, n = {}, 0
    for client in pairs(common.changed) do
      fields[n + 1] = client
      fields[n + 2] = pack_demand(common.own[client])
      n = n + 2
    end
    if common.have_sums_changed then
      fields[n + 1] = '='
      fields[n + 2] = pack_sums(common.sums)
    end
    if fields[1] then
      redis.call('HSET', key, unpack(fields))
    end
    common.changed, common.have_sums_changed = {}, false
  end
end
