//! The scripts around members, sessions, guesses and the audit: the same replies from a redis-server and the embedded store.

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

/// Both hosts, told the same.
struct Pair {
    redis: RealRedis,
    embedded: SteppedEmbedded,
    keys: Keys,
    now_us: i64,
}

fn words<S: AsRef<str>>(words: &[S]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_ref().as_bytes())).collect()
}

impl Pair {
    fn on(server: &RedisServer) -> Self {
        let pair = Self {
            redis: RealRedis::connect(&server.url()),
            embedded: SteppedEmbedded::new(),
            keys: Keys::new("judge"),
            now_us: START_US,
        };
        pair.redis.flush();
        pair.embedded.flush();
        pair.pass_us(0)
    }

    fn pass_us(mut self, us: i64) -> Self {
        self.wait_us(us);
        self
    }

    fn wait_us(&mut self, us: i64) {
        self.now_us += us;
        self.redis.set_clock(self.now_us);
        self.embedded.set_clock(self.now_us);
    }

    fn now_ms(&self) -> i64 {
        self.now_us / 1_000
    }

    /// Both replies, once `plain` has taken out what the hosts' own clocks say.
    #[track_caller]
    fn same(&self, script: Script, keys: &[Key], args: &[Bytes], plain: impl Fn(Reply) -> Reply) -> Reply {
        let told = plain(self.redis.run(script, keys, args));
        assert_eq!(
            told,
            plain(self.embedded.run(script, keys, args)),
            "{script:?} {args:?}: redis left, embedded right"
        );
        told
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
        let Reply::List(told) = self.same(Script::ClientWrite, &self.client_keys(id), &args, |reply| reply) else {
            panic!()
        };
        told.into_iter().map(|word| if let Reply::Int(n) = word { n } else { panic!("{word:?}") }).collect()
    }

    #[track_caller]
    fn read(&self, ids: &[&str]) -> Vec<Reply> {
        let mut keys = vec![self.keys.meta(), self.keys.clients()];
        keys.extend(ids.iter().map(|id| self.keys.client_record(id)));
        let Reply::List(told) = self.same(Script::ClientGet, &keys, &[], |reply| reply) else { panic!() };
        assert_eq!((&told[0], told.len()), (&Reply::Int(self.now_ms()), 1 + 11 * ids.len()));
        told[1..].to_vec()
    }

    #[track_caller]
    fn page(&self, most: usize, below: &str) -> Vec<Reply> {
        let keys = [self.keys.meta(), self.keys.clients()];
        let args = words(&[&most.to_string(), below]);
        let Reply::List(told) = self.same(Script::ClientGet, &keys, &args, |reply| reply) else { panic!() };
        told[1..].to_vec()
    }

    /// The audit without its ids, which come from the hosts' own clocks.
    fn audit(&self, most: usize) -> Vec<Reply> {
        let without_ids = |reply| {
            let Reply::List(words) = reply else { panic!() };
            Reply::List(words.chunks_exact(7).flat_map(|entry| entry[1..].to_vec()).collect())
        };
        let args = words(&["+", &most.to_string()]);
        let Reply::List(told) = self.same(Script::AuditRead, &[self.keys.audit()], &args, without_ids) else {
            panic!()
        };
        told
    }

    #[track_caller]
    fn guess(&self, address: &str, name: &str) -> i64 {
        let keys = [self.keys.meta(), self.keys.failed_logins_from(address), self.keys.failed_logins()];
        match self.same(Script::LoginThrottle, &keys, &words(&[name, "10", "100", "60000"]), |reply| reply) {
            Reply::Int(ms) => ms,
            other => panic!("{other:?}"),
        }
    }
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn a_record_is_written_against_the_version_that_was_read() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    let now = pair.now_ms();
    let fields = [("off", "0"), ("exp", "0"), ("rec", "{\"name\":\"\u{e4}\"}"), ("d", "ab"), ("@made", "0")];
    assert_eq!(pair.write("ann", 0, "set", 2, &fields), [1, now]);
    assert_eq!(pair.write("ann", 0, "set", 2, &fields), [0, now], "it is there already");
    assert_eq!(pair.write("ann", 7, "drop", 2, &[]), [0, now], "another version");
    assert_eq!(pair.write("bob", 1, "set", 2, &fields), [0, now], "there is none to change");
    assert_eq!(pair.read(&["bob"]), vec![Reply::Nil; 11], "and nothing was written");
    pair.wait_us(5_000_000);
    assert_eq!(pair.write("ann", 1, "set", 2, &[("old", "ab"), ("d", "cd"), ("@oldx", "1500")]), [2, now + 5_000]);
    let ann = pair.read(&["nobody", "ann"])[11..].to_vec();
    let until = (now + 6_500).to_string();
    let made = now.to_string();
    let expected = ["2", "0", "0", "{\"name\":\"\u{e4}\"}", "cd", "ab", &until, &made].map(bulk);
    assert_eq!((&ann[..8], &ann[8..]), (&expected[..], &[Reply::Nil, Reply::Nil, Reply::Nil][..]));
    assert_eq!(pair.write("bob", 0, "set", 2, &fields)[0], 1);
    assert_eq!(pair.write("carl", 0, "set", 2, &fields)[0], -1, "two are the most");
    assert_eq!(pair.write("ann", 2, "drop", 2, &[])[0], 3);
    assert_eq!(pair.read(&["ann"]), vec![Reply::Nil; 11]);
    assert_eq!(pair.write("carl", 0, "set", 2, &fields)[0], 1);
    // One entry for each of the five that were carried out.
    assert_eq!(pair.audit(100).len(), 5 * 6);
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_though_all_were_made_at_one_instant() {
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
            let [Reply::Bulk(id), Reply::Bulk(place)] = pair else { panic!("{pair:?}") };
            seen.push(String::from_utf8_lossy(id).into_owned());
            below = String::from_utf8_lossy(place).into_owned();
        }
        if page.len() < 5 {
            break;
        }
    }
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn random_histories_of_members_are_answered_alike() {
    let server = RedisServer::start().await;
    for seed in 0..3 {
        let (mut pair, mut dice) = (Pair::on(&server), Dice::new(seed));
        let mut versions = [0_i64; 6];
        for _ in 0..600 {
            pair.wait_us(*dice.pick(&[0, 1_000, 777_777, 20_000_000]));
            let at = usize::try_from(dice.roll(0, 6)).unwrap();
            let id = format!("k{at}");
            match dice.roll(0, 10) {
                0..=4 => {
                    let known = if dice.one_in(5) { dice.roll(0, 4) } else { versions[at] };
                    let off = *dice.pick(&["0", "1"]);
                    let told = pair.write(
                        &id,
                        known,
                        "set",
                        5,
                        &[("off", off), ("rec", "{}"), ("@made", "0"), ("@exp", "99")],
                    );
                    versions[at] = if told[0] > 0 { told[0] } else { versions[at] };
                }
                5 => {
                    let told = pair.write(&id, versions[at], "drop", 5, &[]);
                    versions[at] = if told[0] > 0 { 0 } else { versions[at] };
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
                    let (who, name): (&str, &str) = (*dice.pick(&["a", "b"]), *dice.pick(&["", "x", "y", "z"]));
                    pair.guess(who, name);
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
async fn ten_wrong_keys_in_any_minute_and_one_while_the_fleet_sees_a_hundred() {
    let server = RedisServer::start().await;
    let mut pair = Pair::on(&server);
    for n in 0..10 {
        assert_eq!((pair.guess("a", ""), pair.guess("a", &format!("g{n}"))), (0, 0), "{n}");
        pair.wait_us(1_000_000);
    }
    for name in ["", "g1", "other"] {
        assert_eq!(pair.guess("a", name), 50_000, "the first of the ten leaves in 50 s");
    }
    pair.wait_us(50_000_000);
    assert_eq!((pair.guess("a", "g11"), pair.guess("a", "g12")), (0, 1_000), "exactly as it was told");
    for n in 0..100 {
        assert_eq!(pair.guess(&format!("b{n}"), "g"), 0);
    }
    assert_eq!((pair.guess("c", ""), pair.guess("c", "g"), pair.guess("c", "")), (0, 0, 60_000));
    assert_eq!(pair.guess("d", ""), 0, "who has shown no wrong key is listened to");
    pair.wait_us(60_000_000);
    for n in 0..9 {
        assert_eq!(pair.guess("c", &format!("g{n}")), 0);
    }
}

#[tokio::test]
async fn a_session_is_good_with_its_admin_key_until_it_is_ended() {
    let server = RedisServer::start().await;
    let pair = Pair::on(&server);
    let session = |what: &str, cookie: &str, key: &str| {
        let keys = [pair.keys.audit(), pair.keys.session(cookie)];
        let args = words(&[what, key, "60000", "admin", "session.test", cookie, "", "", "::1"]);
        // What is left of it is told by the host's own clock.
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
    assert_eq!(pair.audit(9).len(), 2 * 6, "of the two that did something");
}
