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

  --- Goes back to the head of a line.
  local function restart(line)
    line.at, line.has_passed, line.account, line.models = 0, false, { units = {}, by_client = {} }, {}
  end

  local function line_of(name)
    local line = lines[name]
    if not line then
      line = { name = name, entries = {}, count = 0, chunk = FIRST_CHUNK, is_whole = false }
      restart(line)
      lines[name] = line
    end
    return line
  end

  --- The sums of the windows of one model.
  local function model_sums(line, model)
    local sums = line.models[model]
    if not sums then
      sums = { units = {}, by_client = {} }
      line.models[model] = sums
    end
    return sums
  end

  --- Reads the next chunk of a line. Returns false at its end, or where the call has read enough.
  local function read_on(line)
    local size = min(line.chunk, readable)
    if line.is_whole or size == 0 then
      return false
    end
    local last = line.entries[line.count]
    local from = last and '(' .. last.text or '[' .. line.name .. '\t'
    local texts = redis.call('ZRANGEBYLEX', keys.queue, from, '(' .. line.name .. '\n', 'LIMIT', 0, size)
    for i = 1, #texts do
      line.entries[line.count + i] = { text = texts[i], rank = nil, id = nil, client = nil, model = nil, units = nil }
    end
    line.count, readable = line.count + #texts, readable - #texts
    line.is_whole, line.chunk = #texts < size, min(MAX_CHUNK, line.chunk * 4)
    return #texts > 0
  end

  --- An entry that has been read, parsed when it is looked at first.
  local function entry_at(line, index)
    local entry = line.entries[index]
    if not entry.rank then
      local _
      _, entry.rank, entry.id, entry.client, entry.model, entry.units = queue.parse_entry(entry.text)
    end
    return entry
  end

  --- Adds an entry to the sums. Returns whether that leaves less than nothing of the room of a request for `model`.
  local function pass(line, entry, model, room)
    local is_full, units = false, parse_units(entry.units)
    for i = 1, #units do
      local limit, n, of_account = units[i][1], units[i][2], units[i][3]
      local sums = of_account and line.account or model_sums(line, entry.model)
      local sum = (sums.units[limit] or 0) + n
      sums.units[limit] = sum
      local own = sums.by_client[entry.client]
      if not own then
        own = {}
        sums.by_client[entry.client] = own
      end
      own[limit] = (own[limit] or 0) + n
      if room[limit] and sum > room[limit] and (of_account or entry.model == model) then
        is_full = true
      end
    end
    return is_full
  end

  local function sums_of_limit(line, model, limit)
    return string.find(limit, '^%u') and line.account or model_sums(line, model)
  end

  --- Adds up what is queued before a rank, until it exceeds room[limit] of a window. Returns "all" where it did not, "full"
  --- where it did, or "unread" where the call has read enough before either.
  function reader.read_before(name, rank, model, room)
    local line = line_of(name)
    if line.at > 0 and entry_at(line, line.at).rank >= rank then
      restart(line)
    end
    for limit, units in pairs(room) do
      if (sums_of_limit(line, model, limit).units[limit] or 0) > units then
        return 'full'
      end
    end
    while line.at < line.count or read_on(line) do
      local entry = entry_at(line, line.at + 1)
      if entry.rank >= rank then
        return 'all'
      end
      line.at = line.at + 1
      if not entry.has_left then
        line.has_passed = true
        if pass(line, entry, model, room) then
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

  --- Units of a window that were read before that rank; those of one client where it is named.
  function reader.units(name, model, limit, client)
    local sums = sums_of_limit(line_of(name), model, limit)
    if client then
      return sums.by_client[client] and sums.by_client[client][limit] or 0
    end
    return sums.units[limit] or 0
  end

  --- Units of each window of a list that all tickets of a queue need.
  function reader.totals(name, model, list)
    local fields, totals = {}, {}
    for i = 1, #list do
      fields[i] = queue.sum_field(name, model, list[i].limit)
    end
    local sums = #list > 0 and redis.call('HMGET', keys.fairness, unpack(fields)) or {}
    for i = 1, #list do
      totals[list[i].limit] = max(0, (sums[i] or 0) + 0)
    end
    return totals
  end

  --- Units of each window of a list that are queued before a rank, estimated from the number of tickets; nil where none is.
  --- has_read: read_before was called for this rank just before.
  function reader.estimate(name, rank, model, list, has_read)
    local first = '[' .. name .. '\t'
    local before = redis.call('ZLEXCOUNT', keys.queue, first, '(' .. name .. '\t' .. rank)
    if before == 0 then
      return nil
    end
    local part = before / redis.call('ZLEXCOUNT', keys.queue, first, '(' .. name .. '\n')
    local totals = reader.totals(name, model, list)
    for limit, units in pairs(totals) do
      totals[limit] = max(has_read and reader.units(name, model, limit) or 0, floor(units * part + 0.5))
    end
    return totals
  end

  --- A ticket has left the queue in this call: it counts no more.
  function reader.remove(name, id)
    local line = lines[name]
    if not line then
      return
    end
    local from = line.at < line.count and entry_at(line, line.at + 1).id == id and line.at + 1 or 1
    for i = from, line.count do
      local entry = entry_at(line, i)
      if entry.id == id then
        entry.has_left = true
        if i <= line.at then
          restart(line)
        end
        return
      end
    end
  end

  --- The order of a queue has changed in this call: it is read again.
  function reader.forget(name)
    lines[name] = nil
  end

  return reader
end
