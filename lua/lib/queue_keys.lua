--[[ lib/queue_keys: how the wait queues are stored. Their order and their notifications: lib/wait_queue.

  A ticket stands in one queue: that of an account where one of its windows spans models, else that of an account and model
  ("a:…", "m:…", as in `health`); or in its client's own ("c:<client>") where only the client's quota is exhausted: there it
  delays no other client. Its id is that of its lease. All queues of a pool share five keys, each with a TTL above the
  longest wait:

  queue    sorted set, all scores 0, so that bytes order it: "<queue> <rank> <id> <client> <model> <units>";
           rank = class (1 digit), tag (18), number (12)
  guests   the alternates: sorted set, all scores 0: "<queue> <number> <id>": tickets of other queues that could be
           admitted here too
  tickets  hash: <id> = "planned service_time requests tokens" LF its entry in `queue` LF "moved <instant>" where it came from
           another queue LF its entries in the alternates, one a line; planned = the instant at which it means to ask again
  alive    the heartbeats: sorted set: <id> = instant at which its replica counts as dead
  fair     the fairness: hash: "V <queue>" the virtual time: tag of the last ticket admitted; "F <queue> <client>" the finish
           tag of the client's last ticket; "S <queue> <limit>", or "…<limit>@<model>" for a window of one model: units that
           the tickets of the queue need; "H <client>" = "requests tokens" of the client's quota that its tickets queue for

  (Fields of an entry are separated by tabs.) Start-time fair queueing: tag = max(virtual time, finish), finish = tag +
  service_time, service_time = the largest fraction of a window that the request takes ÷ weight; a queue that becomes empty
  forgets both. Class 1 stands behind all of class 0. A notification (PUBLISH to the name of `queue`: "<id> <instant>" to one
  ticket, "p:<provider> <instant>" to all with a candidate there) is a hint: a lost one costs time, never budget.
]]
--- The five keys, from KEYS[first] on.
local function queue_keys(first)
  return {
    queue = KEYS[first], alternates = KEYS[first + 1], tickets = KEYS[first + 2], heartbeats = KEYS[first + 3],
    fairness = KEYS[first + 4],
  }
end
