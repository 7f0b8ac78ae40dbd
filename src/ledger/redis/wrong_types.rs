//! Keys of the pool that hold another type than they should: somebody else wrote them. What they counted is lost, as by a
//! flush, so that is what they are turned into: they are deleted, and the epoch with them, so that every replica replays its
//! leases.

use bytes::Bytes;
use tracing::warn;

use super::{RedisEngine, command, rights};
use crate::ledger::{
    engine::{Reply, ScriptCall},
    keys::{self, Key},
};

/// ARGV: the type of each key, "" where it may have any.
const HEAL: &str = r"
local found = {}
for i = 1, #KEYS do
  local is, should = redis.call('TYPE', KEYS[i]).ok, ARGV[i]
  if should ~= '' and is ~= 'none' and is ~= should then
    redis.call('DEL', KEYS[i])
    found[#found + 1] = KEYS[i] .. ' (a ' .. is .. ' in place of a ' .. should .. ')'
  end
end
if #found > 0 then
  redis.call('HDEL', KEYS[#KEYS], 'epoch')
end
return table.concat(found, ', ')
";

pub(super) fn is_wrong_type(message: &str) -> bool {
    message.contains("WRONGTYPE")
}

impl RedisEngine {
    /// Deletes the keys of a call that hold another type than they should, and says which. Another call may have done so.
    pub(super) async fn delete_wrong_types(&self, call: &ScriptCall) {
        let Some(first) = call.keys.first() else { return };
        let meta = Key::from(format!("{}meta", rights::prefix_of(first)));
        let mut all = call.keys.clone();
        all.push(meta);
        let types: Vec<Bytes> = all.iter().map(|key| Bytes::from_static(keys::type_of(key).as_bytes())).collect();
        let found = self.send_one(None, command("EVAL", HEAL, &all, &types), &all, "wrong_types").await;
        if let Ok(Reply::Bulk(found)) = found
            && !found.is_empty()
        {
            let found = String::from_utf8_lossy(&found);
            warn!("Another program wrote to keys of this pool in Redis; they were deleted: {found}");
        }
    }
}
