//! A small in-process keyspace that speaks the few Redis commands our scripts use, to the letter.
//!
//! Pure but for the clock it is handed: who runs scripts over it and where it is kept is not known here.

mod changes;
mod hashes;
mod keys;
mod lists;
mod numbers;
mod persist;
mod sets;
mod streams;
mod zsets;

use std::borrow::Cow;

use rustc_hash::FxHashMap;

pub use changes::Changes;
pub use numbers::{truncate, write_float, write_integer};
pub use persist::{PersistError, Store};

use hashes::Hash;
use lists::List;
use sets::Set;
use streams::Stream;
use zsets::Zset;

type Bytes = Box<[u8]>;

/// What a command answers, mostly borrowed from the keyspace.
#[derive(Debug)]
pub enum Answer<'k> {
    Nil,
    Int(i64),
    Bulk(Cow<'k, [u8]>),
    /// `+OK`.
    Done,
    List(Vec<Answer<'k>>),
}

impl<'k> Answer<'k> {
    fn bulk(bytes: &'k [u8]) -> Self {
        Self::Bulk(Cow::Borrowed(bytes))
    }

    fn float(number: f64) -> Self {
        let mut text = Vec::new();
        write_float(&mut text, number);
        Self::Bulk(Cow::Owned(text))
    }

    fn maybe(bytes: Option<&'k [u8]>) -> Self {
        bytes.map_or(Self::Nil, Self::bulk)
    }

    fn count(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

type Answered<'k> = Result<Answer<'k>, Fault>;

/// An error reply: its code, then words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub Cow<'static, str>);

impl Fault {
    const fn of(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    const WRONG_TYPE: Self = Self::of("WRONGTYPE Operation against a key holding the wrong kind of value");
    const NOT_AN_INTEGER: Self = Self::of("ERR value is not an integer or out of range");
    const HASH_NOT_AN_INTEGER: Self = Self::of("ERR hash value is not an integer");
    const NOT_A_FLOAT: Self = Self::of("ERR value is not a valid float");
    const RANGE_NOT_A_FLOAT: Self = Self::of("ERR min or max is not a float");
    const OVERFLOW: Self = Self::of("ERR increment or decrement would overflow");
    const SYNTAX: Self = Self::of("ERR syntax error");
    const ARITY: Self = Self::of("ERR Wrong number of args calling Redis command from script");
    const UNKNOWN_COMMAND: Self = Self::of("ERR Unknown Redis command called from script");
}

#[derive(Debug, Clone)]
enum Value {
    Text(Bytes),
    Hash(Hash),
    Set(Set),
    Zset(Zset),
    List(List),
    Stream(Stream),
}

/// The instant of a key without one.
const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    /// Unix ms; the key lives up to and including it.
    expires: i64,
}

/// Keys and values, and what has been changed in them since it was last asked.
#[derive(Default)]
pub struct Keyspace {
    entries: FxHashMap<Bytes, Entry>,
    changes: Changes,
    /// Unix µs; stands still while a script runs.
    now_us: i64,
    /// 40 hex digits that stay the same as long as the state does: `INFO server`.
    run_id: String,
    /// Keys with an expiry that the sweep has still to look at.
    unswept: Vec<Bytes>,
    /// What was published since it was last asked: channel and message.
    published: Vec<(Bytes, Bytes)>,
    /// Whether anybody listens; until then nothing published is kept.
    is_heard: bool,
}

impl Keyspace {
    pub fn new(run_id: String) -> Self {
        Self { run_id, ..Self::default() }
    }

    /// As Redis makes one at each start.
    pub fn new_run_id() -> String {
        let mut hex = uuid::Uuid::new_v4().simple().to_string() + &uuid::Uuid::new_v4().simple().to_string();
        hex.truncate(40);
        hex
    }

    /// Begins a script (or a sweep): time stands still from here. Never goes back.
    pub fn set_clock(&mut self, now_us: i64) {
        self.now_us = self.now_us.max(now_us);
    }

    /// Records changes from now on; until then nothing keeps them.
    pub fn keep_changes(&mut self) {
        self.changes.keep();
    }

    /// From now on what is published is kept for [`Self::published`].
    pub fn keep_published(&mut self) {
        self.is_heard = true;
    }

    /// What has been published since the last call: channel and message.
    pub fn published(&mut self) -> Vec<(Bytes, Bytes)> {
        std::mem::take(&mut self.published)
    }

    /// What has been changed since the last call.
    pub fn changes(&mut self) -> &mut Changes {
        &mut self.changes
    }

    /// Carries out one command.
    pub fn call(&mut self, name: &[u8], args: &[&[u8]]) -> Result<Answer<'_>, Fault> {
        let mut upper = [0; 20];
        let Some(upper) = upper.get_mut(..name.len()) else { return Err(Fault::UNKNOWN_COMMAND) };
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
            b"SET" => self.set(args),
            b"DEL" => self.del(args),
            b"EXISTS" => self.exists(args),
            b"INCR" => self.incr(args),
            b"INCRBY" => self.incrby(args),
            b"PEXPIRE" => self.pexpire(args),
            b"PEXPIREAT" => self.pexpireat(args),
            b"PTTL" => self.pttl(args),
            b"PERSIST" => self.persist(args),
            b"TIME" => self.time(args),
            b"ZADD" => self.zadd(args),
            b"ZREM" => self.zrem(args),
            b"ZSCORE" => self.zscore(args),
            b"ZCARD" => self.zcard(args),
            b"ZCOUNT" => self.zcount(args),
            b"ZRANGE" => self.zrange(args),
            b"ZRANGEBYSCORE" => self.zrangebyscore(args),
            b"ZRANGEBYLEX" => self.zrangebylex(args),
            b"ZREMRANGEBYSCORE" => self.zremrangebyscore(args),
            b"ZREMRANGEBYRANK" => self.zremrangebyrank(args),
            b"SADD" => self.sadd(args),
            b"SREM" => self.srem(args),
            b"SMEMBERS" => self.smembers(args),
            b"SCARD" => self.scard(args),
            b"XADD" => self.xadd(args),
            b"XLEN" => self.xlen(args),
            b"XRANGE" => self.xrange(args, false),
            b"XREVRANGE" => self.xrange(args, true),
            b"LPUSH" => self.push(args, true),
            b"RPUSH" => self.push(args, false),
            b"LTRIM" => self.ltrim(args),
            b"LRANGE" => self.lrange(args),
            b"LLEN" => self.llen(args),
            b"INFO" => Ok(self.info()),
            b"PUBLISH" => self.publish(args),
            _ => Err(Fault::UNKNOWN_COMMAND),
        }
    }

    fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1000)
    }

    /// The living entry of a key; an expired one is removed.
    fn live(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let now = self.now_ms();
        if self.entries.get(key)?.expires < now {
            self.remove(key);
            return None;
        }
        self.entries.get_mut(key)
    }

    /// Removes a key and all that is in it.
    fn remove(&mut self, key: &[u8]) -> bool {
        match self.entries.remove(key) {
            Some(entry) => {
                self.changes.forget(key, &entry.value);
                true
            }
            None => false,
        }
    }

    fn insert(&mut self, key: &[u8], value: Value) -> &mut Entry {
        let entry = Entry { value, expires: NEVER };
        self.changes.head(key, &entry);
        self.entries.entry(key.into()).insert_entry(entry).into_mut()
    }

    /// Looks at some keys with an expiry and removes the dead; called often enough it leaves none.
    pub fn sweep(&mut self, most: usize) {
        if self.unswept.is_empty() {
            self.unswept =
                self.entries.iter().filter(|(_, entry)| entry.expires != NEVER).map(|(key, _)| key.clone()).collect();
        }
        for _ in 0..most.min(self.unswept.len()) {
            if let Some(key) = self.unswept.pop() {
                self.live(&key);
            }
        }
    }
}

/// The read and the write access to one type's containers; five times the same lines would hide the commands.
macro_rules! containers {
    ($($kind:ident: $read:ident, $write:ident);* $(;)?) => {
        impl Keyspace {
            $(
                /// The container of a key, if there is one.
                fn $read(&mut self, key: &[u8]) -> Result<Option<&mut $kind>, Fault> {
                    match self.live(key) {
                        Some(Entry { value: Value::$kind(found), .. }) => Ok(Some(found)),
                        Some(_) => Err(Fault::WRONG_TYPE),
                        None => Ok(None),
                    }
                }

                /// The container of a key, made if there is none, and where to note what is changed in it.
                fn $write(&mut self, key: &[u8]) -> Result<(&mut $kind, &mut Changes), Fault> {
                    if self.live(key).is_none() {
                        self.insert(key, Value::$kind($kind::default()));
                    }
                    match self.entries.get_mut(key) {
                        Some(Entry { value: Value::$kind(found), .. }) => Ok((found, &mut self.changes)),
                        _ => Err(Fault::WRONG_TYPE),
                    }
                }
            )*
        }
    };
}

containers! {
    Hash: hash, hash_mut;
    Set: members, members_mut;
    Zset: zset, zset_mut;
    List: list, list_mut;
    Stream: stream, stream_mut;
}

impl Keyspace {
    /// An emptied container is no key any more.
    fn drop_if_empty(&mut self, key: &[u8]) {
        let empty = self.entries.get(key).is_some_and(|entry| match &entry.value {
            Value::Text(_) | Value::Stream(_) => false,
            Value::Hash(hash) => hash.len() == 0,
            Value::Set(set) => set.len() == 0,
            Value::Zset(zset) => zset.len() == 0,
            Value::List(list) => list.len() == 0,
        });
        if empty {
            self.remove(key);
        }
    }
}

/// `start` and `stop` as Redis counts them (from the end when negative) → the places they name.
fn span(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, stop) = (place(start).max(0), place(stop).min(len - 1));
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
    fn a_swept_keyspace_holds_no_dead_key_though_nobody_asks_for_it() {
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
    fn a_key_lives_through_its_last_millisecond_and_time_never_goes_back() {
        let mut keyspace = Keyspace::default();
        run(&mut keyspace, "SET k v PX 10");
        keyspace.set_clock(10_999);
        assert_eq!(run(&mut keyspace, "PTTL k"), "Ok(Int(0))");
        keyspace.set_clock(11_000);
        keyspace.set_clock(5_000);
        assert_eq!(run(&mut keyspace, "PTTL k"), "Ok(Int(-2))");
    }

    #[test]
    fn an_emptied_container_is_gone_and_can_become_another_type() {
        let mut keyspace = Keyspace::default();
        for (make, empty) in [
            ("HSET k f 1", "HDEL k f"),
            ("ZADD k 1 m", "ZREM k m"),
            ("SADD k m", "SREM k m"),
            ("RPUSH k i", "LTRIM k 1 0"),
        ] {
            run(&mut keyspace, make);
            run(&mut keyspace, empty);
            assert_eq!(run(&mut keyspace, "EXISTS k"), "Ok(Int(0))", "{empty}");
        }
    }

    #[test]
    fn spans_count_from_the_end_when_negative() {
        for (start, stop, places) in
            [(0, -1, 0..5), (1, 2, 1..3), (-2, -1, 3..5), (3, 1, 0..0), (-9, 9, 0..5), (5, 9, 0..0)]
        {
            assert_eq!(span(start, stop, 5), places);
        }
    }
}
