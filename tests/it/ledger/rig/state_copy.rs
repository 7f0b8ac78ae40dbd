//! The whole state in Redis, copied, and put back as by a restart that lost what came after.

use bytes::Bytes;
use tollfree::ledger::{engine::Reply, keys::Key};

use super::{TestLedger, bytes};

/// For each key: whether it is a sorted set, its TTL and its content.
pub(in crate::ledger) struct StateCopy {
    keys: Vec<(Key, bool, i64, Vec<Bytes>)>,
}

impl TestLedger {
    /// Copies the whole state, for [`TestLedger::restore`].
    pub(in crate::ledger) fn copy_state(&self) -> StateCopy {
        let state = |key: &Key| {
            let of_queue = [":queue", ":guests", ":alive"].iter().any(|name| key.ends_with(name));
            let zset = of_queue || self.common.seen.borrow().get(key).is_some_and(|w| w.kind == 'n');
            let text = if key.contains(":l:") || key.contains(":snap:") {
                "return { redis.call('GET', KEYS[1]) }"
            } else if zset {
                "return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')"
            } else {
                "return redis.call('HGETALL', KEYS[1])"
            };
            let Reply::List(words) = self.eval(text, key) else { panic!("no list") };
            (key.clone(), zset, self.ttl(key), words.iter().map(bytes).collect())
        };
        StateCopy { keys: self.present().iter().map(state).collect() }
    }

    /// Simulates a restart, with another run id, that lost everything after the copy.
    pub(in crate::ledger) fn restore(&self, copy: &StateCopy) {
        self.flush();
        for (key, zset, ttl, words) in &copy.keys {
            let mut args: Vec<Bytes> = words.clone();
            let text = if *zset {
                args = words.chunks(2).flat_map(|pair| [pair[1].clone(), pair[0].clone()]).collect();
                "redis.call('ZADD', KEYS[1], unpack(ARGV, 2)) if tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end"
            } else if words.len() == 1 {
                "redis.call('SET', KEYS[1], ARGV[2]) if tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end"
            } else {
                "redis.call('HSET', KEYS[1], unpack(ARGV, 2)) if tonumber(ARGV[1]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end"
            };
            args.insert(0, Bytes::from(ttl.to_string()));
            self.common.bench.eval(text, std::slice::from_ref(key), &args);
        }
    }
}
