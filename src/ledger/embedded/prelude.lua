-- What Redis puts around a script, for the embedded engine. Called once per VM with the functions written in Rust.
local raw, pack_doubles, unpack_doubles = ...

-- `raw` returns the reply, or an error table and true. The error is raised here, where Lua code can catch it.
local function call(...)
  local reply, failed = raw(...)
  if failed then error(reply, 0) end
  return reply
end

local function protected_call(...)
  return (raw(...))
end

-- Random numbers would differ from those of Redis.
math.random, math.randomseed = nil, nil

local library = {
  redis = { call = call, pcall = protected_call }, struct = { pack = pack_doubles, unpack = unpack_doubles },
  math = math, string = string, table = table, assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
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

-- Runs a script. Returns its reply, or nil and the text of its error.
local function run(script, keys, args)
  local ran, reply = pcall(script, keys, args)
  if ran then return reply end
  if type(reply) == 'table' and type(reply.err) == 'string' then return nil, reply.err end
  return nil, 'ERR ' .. tostring(reply)
end

return run, globals
