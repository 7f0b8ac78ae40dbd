--[[ lib/queue_reader: what is queued before a rank. A queue is read from its head, in chunks, and only as far as the room in the
  windows of a request reaches; what is behind that is estimated from sums.
]]
--- @include "lib/window"
--- `queue`: the functions of lib/wait_queue. Returns a reader, which all requests of one call share.
local function queue_reader(keys, queue)
  local FIRST_CHUNK, MAX_CHUNK = 4, 64
  local readable = 640 -- entries that one call reads at most
  local reader, lines, units_by_text = {}, {}, {}

  --- Units of an entry: { limit, units, is_of_account } each.
  local function parse_units(text)
    local list = units_by_text[text]
    if not list then
      list = {}
      for limit, n in string.gmatch(text, '(%a+)=(%d+)') do
        list[#list + 1] = { limit, n + 0, string.find(limit, '^%u') ~= nil }
      end
      units_by_text[text] = list
    end
    return list
  end

  --- Goes back to the head of a line. at: how many entries are added up in `account` and `models`; clients_at: in by_client.
  local function restart(line)
    line.at, line.has_passed, line.account, line.models = 0, false, {}, {}
    line.clients_at, line.by_client = 0, {}
  end

  local function line_of(name)
    local line = lines[name]
    if not line then
      line = { name = name, entries = {}, count = 0, has_left = {}, chunk = FIRST_CHUNK, is_whole = false }
      restart(line)
      lines[name] = line
    end
    return line
  end

  --- Reads the next chunk of a line. Returns false at its end, or where the call has read enough.
  local function read_on(line)
    local size = min(line.chunk, readable)
    if line.is_whole or size == 0 then
      return false
    end
    local last = line.entries[line.count]
    local from = last and '(' .. last or '[' .. line.name .. '\t'
    local entries = redis.call('ZRANGEBYLEX', keys.queue, from, '(' .. line.name .. '\n', 'LIMIT', 0, size)
    for i = 1, #entries do
      line.entries[line.count + i] = entries[i]
    end
    line.count, readable = line.count + #entries, readable - #entries
    line.is_whole, line.chunk = #entries < size, min(MAX_CHUNK, line.chunk * 4)
    return #entries > 0
  end

  --- Rank, model and units of an entry.
  local function parse(entry)
    return string.match(entry, '^[^\t]*\t([^\t]*)\t[^\t]*\t[^\t]*\t([^\t]*)\t(.*)$')
  end

  --- The sums of the windows of one model, or of the account.
  local function sums_in(line, model, of_account)
    if of_account then
      return line.account
    end
    local sums = line.models[model]
    if not sums then
      sums = {}
      line.models[model] = sums
    end
    return sums
  end

  --- Adds an entry to the sums. Returns whether that leaves less than nothing of the room of a request for `model`.
  local function add(line, entry_model, units, model, room)
    local is_full, list = false, parse_units(units)
    for i = 1, #list do
      local limit, n, of_account = list[i][1], list[i][2], list[i][3]
      local sums = sums_in(line, entry_model, of_account)
      local sum = (sums[limit] or 0) + n
      sums[limit] = sum
      if room[limit] and sum > room[limit] and (of_account or entry_model == model) then
        is_full = true
      end
    end
    return is_full
  end

  --- Adds up what is queued before a rank, until it exceeds room[limit] of a window. Returns "all" where it did not, "full"
  --- where it did, or "unread" where the call has read enough before either.
  function reader.read_before(name, rank, model, room)
    local line = line_of(name)
    if line.at > 0 and parse(line.entries[line.at]) >= rank then
      restart(line)
    end
    for limit, units in pairs(room) do
      if (sums_in(line, model, string.find(limit, '^%u'))[limit] or 0) > units then
        return 'full'
      end
    end
    while line.at < line.count or read_on(line) do
      local entry = line.entries[line.at + 1]
      local entry_rank, entry_model, units = parse(entry)
      if entry_rank >= rank then
        return 'all'
      end
      line.at = line.at + 1
      if not line.has_left[entry] then
        line.has_passed = true
        if add(line, entry_model, units, model, room) then
          return 'full'
        end
      end
    end
    return line.is_whole and 'all' or 'unread'
  end

  --- Whether anything was read before the rank of the last call of read_before.
  function reader.has_passed(name)
    return line_of(name).has_passed
  end

  --- Units of a window that were read before that rank.
  function reader.units(name, model, limit)
    return sums_in(line_of(name), model, string.find(limit, '^%u'))[limit] or 0
  end

  --- Adds up what was read by client. Few requests need that.
  local function add_clients(line)
    for i = line.clients_at + 1, line.at do
      local entry = line.entries[i]
      if not line.has_left[entry] then
        local _, _, _, owner, entry_model, units = queue.parse_entry(entry)
        local own, list = line.by_client[owner] or {}, parse_units(units)
        line.by_client[owner] = own
        for j = 1, #list do
          local field = list[j][3] and list[j][1] or list[j][1] .. '@' .. entry_model
          own[field] = (own[field] or 0) + list[j][2]
        end
      end
    end
    line.clients_at = line.at
  end

  --- Those of each client: a table by client, and the name of the field there.
  function reader.units_by_client(name, model, limit)
    local line = line_of(name)
    add_clients(line)
    return line.by_client, queue.window_name(model, limit)
  end

  --- Those of the clients for which counts(client) holds, for each window of a list.
  function reader.units_of_clients(name, model, list, counts)
    local line, units = line_of(name), {}
    add_clients(line)
    for client, own in pairs(line.by_client) do
      if counts(client) then
        for i = 1, #list do
          local limit = list[i].limit
          units[limit] = (units[limit] or 0) + (own[queue.window_name(model, limit)] or 0)
        end
      end
    end
    return units
  end

  --- Units of each window of a list that all tickets of a queue need, but for one with the entry `own`, or nil.
  function reader.totals(name, model, list, own)
    local fields, totals = {}, {}
    for i = 1, #list do
      fields[i] = queue.sum_field(name, model, list[i].limit)
    end
    local sums = #list > 0 and redis.call('HMGET', keys.fairness, unpack(fields)) or {}
    for i = 1, #list do
      totals[list[i].limit] = max(0, (sums[i] or 0) + 0)
    end
    if own then
      local _, own_model, units = parse(own)
      for _, window in ipairs(parse_units(units)) do
        local limit, n, of_account = window[1], window[2], window[3]
        if totals[limit] and (of_account or own_model == model) then
          totals[limit] = max(0, totals[limit] - n)
        end
      end
    end
    return totals
  end

  --- Units of each window of a list that are queued before a rank, estimated from the number of tickets; nil where none is.
  --- has_read: read_before was called for this rank just before. own: the entry of the request, which does not queue before
  --- itself; nil where it stands in another queue.
  function reader.estimate(name, rank, model, list, has_read, own)
    local first = '[' .. name .. '\t'
    local before = redis.call('ZLEXCOUNT', keys.queue, first, '(' .. name .. '\t' .. rank)
    if before == 0 then
      return nil
    end
    local others = redis.call('ZLEXCOUNT', keys.queue, first, '(' .. name .. '\n') - (own and 1 or 0)
    local part = before / others
    local totals = reader.totals(name, model, list, own)
    for limit, units in pairs(totals) do
      totals[limit] = max(has_read and reader.units(name, model, limit) or 0, floor(units * part + 0.5))
    end
    return totals
  end

  --- A ticket has left the queue in this call: its entry counts no more.
  function reader.remove(name, entry)
    local line = lines[name]
    if line then
      line.has_left[entry] = true
      if line.at > 0 and parse(line.entries[line.at]) >= parse(entry) then
        restart(line)
      end
    end
  end

  --- The order of a queue has changed in this call: it is read again.
  function reader.forget(name)
    lines[name] = nil
  end

  return reader
end
