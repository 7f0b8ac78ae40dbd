//! Scripts for clients, sessions, failed logins and the audit log: a redis-server and the embedded store reply the same.

use bytes::Bytes;
use tollfree::ledger::{
    engine::Reply,
    keys::{Key, Keys},
    scripts::Script,
};

use super::{
    engines::{Bench, RealRedis, SteppedEmbedded},
    world::Dice,
};
use crate::support::redis_server::RedisServer;

const START_US: i64 = 1_800_000_000_000_000;
/// Of a client's record.
const FIELDS: usize = 12;

/// Both engines, which receive the same calls.
pub(super) struct Pair {
    redis: RealRedis,
    embedded: SteppedEmbedded,
    pub(super) keys: Keys,
    now_us: i64,
}

pub(super) fn words<S: AsRef<str>>(words: &[S]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_ref().as_bytes())).collect()
}

impl Pair {
    pub(super) fn on(server: &RedisServer) -> Self {
        let pair = Self {
            redis: RealRedis::connect(&server.url()),
            embedded: SteppedEmbedded::new(),
            keys: Keys::new("judge"),
            now_us: START_US,
        };
        pair.redis.flush();
        pair.embedded.flush();
        pair.advanced_us(0)
    }

    fn advanced_us(mut self, us: i64) -> Self {
        self.advance_us(us);
        self
    }

    pub(super) fn advance_us(&mut self, us: i64) {
        self.now_us += us;
        self.redis.set_clock(self.now_us);
        self.embedded.set_clock(self.now_us);
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_us / 1_000
    }

    /// The reply of both engines. `plain` removes values of the engines' own clocks before the comparison.
    #[track_caller]
    pub(super) fn same(&self, script: Script, keys: &[Key], args: &[Bytes], plain: impl Fn(Reply) -> Reply) -> Reply {
        let reply = plain(self.redis.run(script, keys, args));
        assert_eq!(
            reply,
            plain(self.embedded.run(script, keys, args)),
            "{script:?} {args:?}: redis left, embedded right"
        );
        reply
    }

    /// The reply of both engines to any text.
    pub(super) fn same_text(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Reply {
        let reply = self.redis.eval(text, keys, args);
        assert_eq!(reply, self.embedded.eval(text, keys, args), "{text}");
        reply
    }

    fn client_keys(&self, id: &str) -> Vec<Key> {
        let keys = &self.keys;
        vec![keys.meta(), keys.audit(), keys.clients(), keys.client_record(id)]
    }

    #[track_caller]
    fn write(&self, id: &str, version: i64, what: &str, most: i64, fields: &[(&str, &str)]) -> Vec<i64> {
        let mut args =
            words(&[&version.to_string(), what, &most.to_string(), "admin", "client.test", id, "", "{}", ""]);
        args.extend(fields.iter().flat_map(|(field, value)| words(&[field, value])));
        let Reply::List(reply) = self.same(Script::ClientWrite, &self.client_keys(id), &args, |reply| reply) else {
            panic!()
        };
        reply.into_iter().map(|word| if let Reply::Int(n) = word { n } else { panic!("{word:?}") }).collect()
    }

    #[track_caller]
    fn read(&self, ids: &[&str]) -> Vec<Reply> {
        let mut keys = vec![self.keys.meta(), self.keys.clients()];
        keys.extend(ids.iter().map(|id| self.keys.client_record(id)));
        let Reply::List(reply) = self.same(Script::ClientGet, &keys, &[], |reply| reply) else { panic!() };
        assert_eq!((&reply[0], reply.len()), (&Reply::Int(self.now_ms()), 1 + FIELDS * ids.len()));
        reply[1..].to_vec()
    }

    #[track_caller]
    fn page(&self, most: usize, below: &str) -> Vec<Reply> {
        let keys = [self.keys.meta(), self.keys.clients()];
        let args = words(&[&most.to_string(), below]);
        let Reply::List(reply) = self.same(Script::ClientGet, &keys, &args, |reply| reply) else { panic!() };
        reply[1..].to_vec()
    }

    /// The audit log without its ids, which come from the engines' own clocks.
    pub(super) fn audit(&self, most: usize) -> Vec<Reply> {
        let without_ids = |reply| {
            let Reply::List(words) = reply else { panic!() };
            Reply::List(words.chunks_exact(7).flat_map(|entry| entry[1..].to_vec()).collect())
        };
        let args = words(&["+", &most.to_string()]);
        let Reply::List(reply) = self.same(Script::AuditRead, &[self.keys.audit()], &args, without_ids) else {
            panic!()
        };
        reply
    }

    #[track_caller]
    fn failed_login(&self, address: &str, name: &str) -> i64 {
        let keys = [self.keys.meta(), self.keys.failed_logins_from(address), self.keys.failed_logins()];
        match self.same(Script::LoginThrottle, &keys, &words(&[name, "10", "100", "60000"]), |reply| reply) {
            Reply::Int(ms) => ms,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn bulk(text: &str) -> Reply {
    Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn a_record_is_written_against_the_version_that_was_read() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    let now = pair.now_ms();
    let fields = [("off", "0"), ("exp", "0"), ("rec", "{\"name\":\"\u{e4}\"}"), ("d", "ab"), ("@made", "0")];
    assert_eq!(pair.write("ann", 0, "set", 2, &fields), [1, now]);
    assert_eq!(pair.write("ann", 0, "set", 2, &fields), [0, now], "the client exists already");
    assert_eq!(pair.write("ann", 7, "drop", 2, &[]), [0, now], "another version");
    assert_eq!(pair.write("bob", 1, "set", 2, &fields), [0, now], "there is no such client");
    assert_eq!(pair.read(&["bob"]), vec![Reply::Nil; FIELDS], "nothing was written");
    pair.advance_us(5_000_000);
    assert_eq!(pair.write("ann", 1, "set", 2, &[("old", "ab"), ("d", "cd"), ("@oldx", "1500")]), [2, now + 5_000]);
    let ann = pair.read(&["nobody", "ann"])[FIELDS..].to_vec();
    let until = (now + 6_500).to_string();
    let made = now.to_string();
    let expected = ["2", "0", "0", "{\"name\":\"\u{e4}\"}", "cd", "ab", &until, &made].map(bulk);
    assert_eq!((&ann[..8], &ann[8..]), (&expected[..], &vec![Reply::Nil; FIELDS - 8][..]));
    assert_eq!(pair.write("bob", 0, "set", 2, &fields)[0], 1);
    assert_eq!(pair.write("carl", 0, "set", 2, &fields)[0], -1, "the maximum is two");
    assert_eq!(pair.write("ann", 2, "drop", 2, &[])[0], 3);
    assert_eq!(pair.read(&["ann"]), vec![Reply::Nil; FIELDS]);
    assert_eq!(pair.write("carl", 0, "set", 2, &fields)[0], 1);
    // One entry for each of the five successful changes.
    assert_eq!(pair.audit(100).len(), 5 * 6);
}

#[tokio::test]
async fn pages_are_ordered_even_if_all_clients_were_created_at_one_instant() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let ids: Vec<String> = (0..5).map(|n| format!("k{n}")).collect();
    for id in &ids {
        pair.write(id, 0, "set", 10, &[("rec", "{}")]);
    }
    let (mut seen, mut below) = (Vec::new(), "+inf".to_owned());
    loop {
        let page = pair.page(2, &below);
        assert_eq!(page[0], Reply::Int(5));
        for pair in page[1..].chunks_exact(2) {
            let [Reply::Bulk(id), Reply::Bulk(score)] = pair else { panic!("{pair:?}") };
            seen.push(String::from_utf8_lossy(id).into_owned());
            below = String::from_utf8_lossy(score).into_owned();
        }
        if page.len() < 5 {
            break;
        }
    }
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn both_engines_reply_alike_to_random_client_histories() {
    let server = RedisServer::start().await;
    for seed in 0..3 {
        let (mut pair, mut dice) = (Pair::on(&server), Dice::new(seed));
        let mut versions = [0_i64; 6];
        for _ in 0..600 {
            pair.advance_us(*dice.pick(&[0, 1_000, 777_777, 20_000_000]));
            let at = usize::try_from(dice.roll(0, 6)).unwrap();
            let id = format!("k{at}");
            match dice.roll(0, 10) {
                0..=4 => {
                    let known = if dice.one_in(5) { dice.roll(0, 4) } else { versions[at] };
                    let off = *dice.pick(&["0", "1"]);
                    let reply = pair.write(
                        &id,
                        known,
                        "set",
                        5,
                        &[("off", off), ("rec", "{}"), ("@made", "0"), ("@exp", "99")],
                    );
                    versions[at] = if reply[0] > 0 { reply[0] } else { versions[at] };
                }
                5 => {
                    let reply = pair.write(&id, versions[at], "drop", 5, &[]);
                    versions[at] = if reply[0] > 0 { 0 } else { versions[at] };
                }
                6 => {
                    let keys = [pair.keys.meta(), pair.keys.client_record(&id), pair.keys.client_record("nobody")];
                    pair.same(Script::ClientTouch, &keys, &words(&[&dice.roll(0, 9_000).to_string(), "5"]), |reply| {
                        reply
                    });
                }
                7 => {
                    pair.page(3, "+inf");
                }
                8 => {
                    let (address, name): (&str, &str) = (*dice.pick(&["a", "b"]), *dice.pick(&["", "x", "y", "z"]));
                    pair.failed_login(address, name);
                }
                _ => {
                    pair.read(&["k0", "k1", "k2", "k3", "k4", "k5"]);
                }
            }
        }
        assert!(pair.audit(1_000).len() > 600);
    }
}

#[tokio::test]
async fn an_address_has_ten_failed_logins_a_minute_and_one_after_a_hundred_overall() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    for n in 0..10 {
        assert_eq!((pair.failed_login("a", ""), pair.failed_login("a", &format!("g{n}"))), (0, 0), "{n}");
        pair.advance_us(1_000_000);
    }
    for name in ["", "g1", "other"] {
        assert_eq!(pair.failed_login("a", name), 50_000, "the first of the ten expires in 50 s");
    }
    pair.advance_us(50_000_000);
    assert_eq!(
        (pair.failed_login("a", "g11"), pair.failed_login("a", "g12")),
        (0, 1_000),
        "exactly at the reported time"
    );
    for n in 0..100 {
        assert_eq!(pair.failed_login(&format!("b{n}"), "g"), 0);
    }
    assert_eq!((pair.failed_login("c", ""), pair.failed_login("c", "g"), pair.failed_login("c", "")), (0, 0, 60_000));
    assert_eq!(pair.failed_login("d", ""), 0, "an address without failures is not blocked");
    pair.advance_us(60_000_000);
    for n in 0..9 {
        assert_eq!(pair.failed_login("c", &format!("g{n}")), 0);
    }
}

#[tokio::test]
async fn a_session_is_valid_with_its_admin_key_until_it_ends() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let session = |what: &str, cookie: &str, key: &str| {
        let keys = [pair.keys.audit(), pair.keys.session(cookie)];
        let args = words(&[what, key, "60000", "admin", "session.test", cookie, "", "", "::1"]);
        // The remaining lifetime depends on the engine's own clock.
        let roughly = |reply| match reply {
            Reply::Int(50_000..=60_000) => Reply::Int(1),
            other => other,
        };
        pair.same(Script::Sessions, &keys, &args, roughly)
    };
    let (good, none) = (Reply::Int(1), Reply::Int(0));
    assert_eq!(session("look", "c", "k"), none);
    assert_eq!([session("open", "c", "k"), session("look", "c", "k")], [good.clone(), good.clone()]);
    assert_eq!(session("look", "c", "other"), none);
    assert_eq!(session("end", "c", "other"), none);
    assert_eq!(session("end", "c", "k"), good);
    assert_eq!(session("look", "c", "k"), none);
    assert_eq!(pair.audit(9).len(), 2 * 6, "one entry for each of the two calls that changed something");
}
