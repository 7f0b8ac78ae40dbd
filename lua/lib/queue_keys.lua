--[[ lib/queue_keys: where waiting is written down. Who waits, in which order, and how the first of them is woken: lib/wait_queue.

  A ticket stands in one line: an account's where any of its windows spans models, else an account and model's ("a:…",
  "m:…", as in `health`); or in its client's own ("c:<client>"), where only the client's quota is in its way: there it
  takes nobody's place. Its id is its lease's. All lines of a pool share five keys, each with a TTL over the longest wait:

  queue    sorted set, all scores 0, so that bytes order it: "<line> <class><tag><number> <id> <client> <model> <units>"
  guests   sorted set, all scores 0: "<line> <number> <id>": tickets elsewhere that could go here too
  tickets  hash: <id> = "planned turn requests tokens" LF its member of `queue` LF its members of `guests`, each on a line
  alive    sorted set: <id> = instant at which its replica is taken for dead
  fair     hash: "V <line>" tag of the last to go; "F <line> <client>" where the client's next turn begins;
           "H <client>" = "requests tokens" its tickets hold

  (Words of `queue`, `guests` and `fair` are parted by tabs.) Start-time fair queueing: tag = max(V, F), F = tag + turn,
  turn = the greatest part of a window a request takes ÷ weight; an emptied line forgets V and F. Class 1 stands behind
  all of class 0. A knock (PUBLISH on the name of `queue`: "<id> <instant>") is a hint: a lost one costs time, no budget.
]]
--- The five keys, from KEYS[first] on.
local function waiting_room(first)
  return {
    queue = KEYS[first], guests = KEYS[first + 1], tickets = KEYS[first + 2], alive = KEYS[first + 3], fair = KEYS[first + 4],
  }
end

--- A packed candidate: its fields of `health` (p, b, k, m, a), its model, its line (`health`'s field of its account, where a
--- window spans models, else of its account and model), its packed windows.
local function read_candidate(packed)
  local p, b, k, m, a, model, scope, spec =
    string.match(packed, '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(%a)\t(.*)$')
  return p, b, k, m, a, model, scope == 'a' and a or m, spec
end
