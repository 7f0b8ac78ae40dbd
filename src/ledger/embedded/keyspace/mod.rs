//! An in-process keyspace with the few Redis commands that the scripts use. Replies and errors are those of Redis.
//!
//! It has no side effects and reads no clock: the engine sets the time and writes the changes to disk.

mod changes;
mod hashes;
mod keys;
mod numbers;
mod sorted_sets;
mod streams;

use std::{borrow::Cow, mem, ops::Range};

use rustc_hash::FxHashMap;

pub(crate) use self::{
    changes::Changes,
    numbers::{truncate, write_float, write_integer},
};
use self::{hashes::Hash, sorted_sets::SortedSet, streams::Stream};

type Bytes = Box<[u8]>;

/// The reply of a command, mostly borrowed from the keyspace.
#[derive(Debug)]
pub(crate) enum CommandReply<'k> {
    Nil,
    Int(i64),
    Bulk(Cow<'k, [u8]>),
    /// The status `+OK`.
    Ok,
    List(Vec<CommandReply<'k>>),
}

impl<'k> CommandReply<'k> {
    fn bulk(bytes: &'k [u8]) -> Self {
        Self::Bulk(Cow::Borrowed(bytes))
    }

    fn float(number: f64) -> Self {
        let mut text = Vec::new();
        write_float(&mut text, number);
        Self::Bulk(Cow::Owned(text))
    }

    fn bulk_or_nil(bytes: Option<&'k [u8]>) -> Self {
        bytes.map_or(Self::Nil, Self::bulk)
    }

    fn count(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

type CommandResult<'k> = Result<CommandReply<'k>, CommandError>;

/// An error reply: its code, then a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandError(pub(crate) Cow<'static, str>);

impl CommandError {
    const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    const WRONG_TYPE: Self = Self::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    const NOT_AN_INTEGER: Self = Self::new("ERR value is not an integer or out of range");
    const HASH_NOT_AN_INTEGER: Self = Self::new("ERR hash value is not an integer");
    const NOT_A_FLOAT: Self = Self::new("ERR value is not a valid float");
    const RANGE_NOT_A_FLOAT: Self = Self::new("ERR min or max is not a float");
    const OVERFLOW: Self = Self::new("ERR increment or decrement would overflow");
    const SYNTAX: Self = Self::new("ERR syntax error");
    const ARITY: Self = Self::new("ERR Wrong number of args calling Redis command from script");
    const UNKNOWN_COMMAND: Self = Self::new("ERR Unknown Redis command called from script");
}

#[derive(Debug, Clone)]
enum Value {
    String(Bytes),
    Hash(Hash),
    SortedSet(SortedSet),
    Stream(Stream),
}

/// The expiry of a key that has none.
const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    /// Unix time in ms. The key lives up to and including this millisecond.
    expires: i64,
}

/// Keys with their values, and the changes since they were last taken.
#[derive(Default)]
pub(crate) struct Keyspace {
    entries: FxHashMap<Bytes, Entry>,
    changes: Changes,
    /// Unix time in µs. Stands still while a script runs.
    now_us: i64,
    /// 40 hexadecimal digits for `INFO server`, the same for as long as the state exists.
    run_id: String,
    /// Keys with an expiry that the current sweep has not examined yet.
    unswept: Vec<Bytes>,
    /// Channel and message of each `PUBLISH` since the last [`Self::take_published`].
    published: Vec<(Bytes, Bytes)>,
    keeps_published: bool,
}

impl Keyspace {
    pub(crate) fn new(run_id: String) -> Self {
        Self { run_id, ..Self::default() }
    }

    /// A run id as Redis creates one at each start.
    pub(crate) fn new_run_id() -> String {
        let mut hex = uuid::Uuid::new_v4().simple().to_string() + &uuid::Uuid::new_v4().simple().to_string();
        hex.truncate(40);
        hex
    }

    /// Sets the time. It may go back, as that of a machine can.
    pub(crate) fn set_clock(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Records changes from now on.
    pub(crate) fn record_changes(&mut self) {
        self.changes.enable();
    }

    /// Keeps published messages from now on.
    pub(crate) fn keep_published(&mut self) {
        self.keeps_published = true;
    }

    /// Channel and message of each `PUBLISH` since the last call.
    pub(crate) fn take_published(&mut self) -> Vec<(Bytes, Bytes)> {
        mem::take(&mut self.published)
    }

    pub(crate) fn changes(&mut self) -> &mut Changes {
        &mut self.changes
    }

    /// The names of all keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(|key| &**key)
    }

    /// Executes one command.
    pub(crate) fn call(&mut self, name: &[u8], args: &[&[u8]]) -> Result<CommandReply<'_>, CommandError> {
        let mut upper = [0; 20];
        let Some(upper) = upper.get_mut(..name.len()) else { return Err(CommandError::UNKNOWN_COMMAND) };
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        match &*upper {
            b"HGET" => self.hget(args),
            b"HMGET" => self.hmget(args),
            b"HSET" => self.hset(args),
            b"HDEL" => self.hdel(args),
            b"HGETALL" => self.hgetall(args),
            b"HINCRBY" => self.hincrby(args),
            b"HLEN" => self.hlen(args),
            b"HKEYS" => self.hkeys(args),
            b"HEXISTS" => self.hexists(args),
            b"GET" => self.get(args),
            b"GETEX" => self.getex(args),
            b"SET" => self.set(args),
            b"DEL" => self.del(args),
            b"EXISTS" => self.exists(args),
            b"PEXPIRE" => self.pexpire(args),
            b"PTTL" => self.pttl(args),
            b"TIME" => self.time(args),
            b"ZADD" => self.zadd(args),
            b"ZREM" => self.zrem(args),
            b"ZCARD" => self.zcard(args),
            b"ZCOUNT" => self.zcount(args),
            b"ZRANGE" => self.zrange(args),
            b"ZRANGEBYSCORE" => self.zrangebyscore(args),
            b"ZLEXCOUNT" => self.zlexcount(args),
            b"ZRANGEBYLEX" => self.zrangebylex(args),
            b"ZREMRANGEBYSCORE" => self.zremrangebyscore(args),
            b"XADD" => self.xadd(args),
            b"XRANGE" => self.xrange(args, false),
            b"XREVRANGE" => self.xrange(args, true),
            b"INFO" => Ok(self.info()),
            b"PUBLISH" => self.publish(args),
            _ => Err(CommandError::UNKNOWN_COMMAND),
        }
    }

    fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1000)
    }

    /// The entry of a key. Removes it if it has expired.
    fn live(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let now = self.now_ms();
        if self.entries.get(key)?.expires < now {
            self.remove(key);
            return None;
        }
        self.entries.get_mut(key)
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.changes.remove_key(key, &entry.value);
        true
    }

    fn insert(&mut self, key: &[u8], value: Value, expires: i64) {
        let entry = Entry { value, expires };
        self.changes.set_head(key, &entry);
        self.entries.insert(key.into(), entry);
    }

    /// Examines up to `max` keys with an expiry and removes the expired ones. Repeated calls reach every key.
    pub(crate) fn sweep(&mut self, max: usize) {
        if self.unswept.is_empty() {
            self.unswept =
                self.entries.iter().filter(|(_, entry)| entry.expires != NEVER).map(|(key, _)| key.clone()).collect();
        }
        for _ in 0..max.min(self.unswept.len()) {
            if let Some(key) = self.unswept.pop() {
                self.live(&key);
            }
        }
    }

    /// Removes a key whose container has no elements left.
    fn remove_if_empty(&mut self, key: &[u8]) {
        let is_empty = self.entries.get(key).is_some_and(|entry| match &entry.value {
            Value::String(_) | Value::Stream(_) => false,
            Value::Hash(hash) => hash.len() == 0,
            Value::SortedSet(set) => set.len() == 0,
        });
        if is_empty {
            self.remove(key);
        }
    }
}

/// Read and write access to the containers of one type.
macro_rules! containers {
    ($($kind:ident: $read:ident, $write:ident);* $(;)?) => {
        impl Keyspace {
            $(
                /// The container of a key, if it exists.
                fn $read(&mut self, key: &[u8]) -> Result<Option<&mut $kind>, CommandError> {
                    match self.live(key) {
                        Some(Entry { value: Value::$kind(found), .. }) => Ok(Some(found)),
                        Some(_) => Err(CommandError::WRONG_TYPE),
                        None => Ok(None),
                    }
                }

                /// The container of a key, created if missing, and the record of its changes.
                fn $write(&mut self, key: &[u8]) -> Result<(&mut $kind, &mut Changes), CommandError> {
                    if self.live(key).is_none() {
                        self.insert(key, Value::$kind($kind::default()), NEVER);
                    }
                    match self.entries.get_mut(key) {
                        Some(Entry { value: Value::$kind(found), .. }) => Ok((found, &mut self.changes)),
                        _ => Err(CommandError::WRONG_TYPE),
                    }
                }
            )*
        }
    };
}

containers! {
    Hash: hash, hash_mut;
    SortedSet: sorted_set, sorted_set_mut;
    Stream: stream, stream_mut;
}

/// The indexes that `start` and `stop` select. Negative numbers count from the end.
fn index_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let index = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, stop) = (index(start).max(0), index(stop).min(len - 1));
    if start > stop || start >= len {
        return 0..0;
    }
    let [from, to] = [start, stop + 1].map(|at| usize::try_from(at).unwrap_or(0));
    from..to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keyspace: &mut Keyspace, words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        format!("{:?}", keyspace.call(words[0], &words[1..]))
    }

    #[test]
    fn a_sweep_removes_expired_keys_that_no_command_reads() {
        let mut keyspace = Keyspace::default();
        for n in 0..100 {
            run(&mut keyspace, &format!("SET k{n} v PX {}", 10 + n % 2 * 1000));
        }
        keyspace.set_clock(500_000);
        for _ in 0..2 {
            keyspace.sweep(60);
        }
        assert_eq!(keyspace.entries.len(), 50);
    }

    #[test]
    fn a_key_lives_through_its_last_millisecond() {
        let mut keyspace = Keyspace::default();
        run(&mut keyspace, "SET k v PX 10");
        keyspace.set_clock(10_999);
        assert_eq!(run(&mut keyspace, "PTTL k"), "Ok(Int(0))");
        keyspace.set_clock(11_000);
        assert_eq!(run(&mut keyspace, "PTTL k"), "Ok(Int(-2))");
    }

    #[test]
    fn an_emptied_container_is_removed_and_its_key_can_take_another_type() {
        let mut keyspace = Keyspace::default();
        for (fill, empty) in [("HSET k f 1", "HDEL k f"), ("ZADD k 1 m", "ZREM k m")] {
            run(&mut keyspace, fill);
            run(&mut keyspace, empty);
            assert_eq!(run(&mut keyspace, "EXISTS k"), "Ok(Int(0))", "{empty}");
        }
    }

    #[test]
    fn negative_indexes_count_from_the_end() {
        for (start, stop, indexes) in
            [(0, -1, 0..5), (1, 2, 1..3), (-2, -1, 3..5), (3, 1, 0..0), (-9, 9, 0..5), (5, 9, 0..0)]
        {
            assert_eq!(index_range(start, stop, 5), indexes);
        }
    }
}
