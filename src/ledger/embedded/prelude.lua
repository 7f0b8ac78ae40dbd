-- What Redis puts around a script, for the embedded host. Called once per VM with the functions that are Rust's.
local raw, fraction, reseed, pack, unpack_doubles = ...

-- `raw` answers the reply and nothing, or an error table and true: errors are raised here, where Lua can catch them.
local function call(...)
  local reply, failed = raw(...)
  if failed then error(reply, 0) end
  return reply
end

local function pcall_redis(...)
  return (raw(...))
end

-- Redis' own `pcall` hands over an error table's words, not the table.
local function told(ran, first, ...)
  if not ran and type(first) == 'table' and type(first.err) == 'string' then first = first.err end
  return ran, first, ...
end

local redis = {
  call = call,
  pcall = pcall_redis,
  status_reply = function(text) return { ok = text } end,
  error_reply = function(text)
    if string.sub(text, 1, 1) ~= '-' then text = '-' .. text end
    local code, words = string.match(text, '^%-(%S*) (.*)$')
    if not code then code, words = 'ERR', string.sub(text, 2) end
    return { err = code .. ' ' .. words }
  end,
}

-- The same numbers after every start, as in Redis.
math.randomseed = reseed
math.random = function(low, high)
  local r = fraction()
  if low == nil then return r end
  if high == nil then low, high = 1, low end
  if low > high then error('interval is empty') end
  return math.floor(r * (high - low + 1)) + low
end

local library = {
  redis = redis, struct = { pack = pack, unpack = unpack_doubles }, math = math, string = string, table = table, coroutine = coroutine,
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
  pcall = function(...) return told(pcall(...)) end, xpcall = xpcall,
  rawequal = rawequal, rawget = rawget, rawset = rawset, select = select, tonumber = tonumber, tostring = tostring,
  type = type, unpack = unpack, getmetatable = getmetatable, setmetatable = setmetatable,
  loadstring = loadstring, _VERSION = _VERSION,
}
setmetatable(library, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})
local globals = setmetatable({}, {
  __index = library,
  __newindex = function() error('Attempt to modify a readonly table', 2) end,
})
rawset(library, '_G', globals)

-- Runs a script: its reply, or nothing and the words of its error.
local function run(script, keys, args)
  local ran, reply = pcall(script, keys, args)
  if ran then return reply end
  if type(reply) == 'table' and type(reply.err) == 'string' then return nil, reply.err end
  return nil, 'ERR ' .. tostring(reply)
end

return run, globals
