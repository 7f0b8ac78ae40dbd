//! The same random calls on a redis-server and on the embedded store: the same replies, byte for byte, and the same state.

use bytes::Bytes;
use tollfree::ledger::{
    engine::Reply,
    keys::{Key, Keys},
    rollup::{GroupBy, Step},
    scripts::Script,
};

use super::{
    budget::budget,
    engines::{RealRedis, SteppedEmbedded},
    rig::{Admit, Asking, Cand, End, Lease, TestClient, TestLedger, WaitRequest, cand, win},
    world::Dice,
};
use crate::support::redis_server::RedisServer;

fn pool() -> Vec<Cand> {
    let all = [
        win("rpm", 's', 20),
        win("rpd", 'b', 900),
        win("tpm", 'm', 9_000),
        win("tpd", 'c', 90_000).in_zone("America/Los_Angeles"),
        win("concurrency", 'n', 6),
    ];
    let groq =
        [win("rpm", 's', 60).account_wide(), win("rpm", 'b', 30), win("tpm", 'b', 8_000), win("tpd", 's', 200_000)];
    // (No window of a second: its key's life, by each host's own clock, could end between two questions.)
    let busy = [win("rph", 's', 200), win("tpm", 's', 500_000), win("rpmonth", 'c', 4_000).in_zone("UTC")];
    vec![
        cand("one", &all),
        cand("groq", &groq).with("a", "x"),
        cand("groq", &groq).with("b", "x"),
        cand("groq", &groq).with("a", "y"),
        cand("busy", &busy),
        cand("free", &[]),
    ]
}

fn units(dice: &mut Dice, cand: &Cand) -> Vec<i64> {
    let mut of = |name: &str, max: i64| match name {
        "tpm" | "tpd" => *dice.pick(&[0, 1, max / 50, max / 7, max / 3]),
        _ => 1,
    };
    cand.windows.iter().map(|w| of(w.limit.as_str(), w.max.min(9_000))).collect()
}

/// Both engines, given the same calls.
struct Pair {
    redis: TestLedger,
    embedded: TestLedger,
}

impl Pair {
    fn pass_us(&self, us: i64) {
        for ledger in [&self.redis, &self.embedded] {
            ledger.set_us(ledger.now_us() + us);
        }
    }

    /// A slow machine lets a lease die, by each host's own clock: then its name is free again.
    fn hold(&self, id: &str) -> bool {
        let lease = Keys::new("judge").lease(id);
        self.redis.exists(&lease) && self.embedded.exists(&lease)
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, mut ask: impl FnMut(&mut TestLedger) -> T) -> T {
        let reply = ask(&mut self.redis);
        assert_eq!(reply, ask(&mut self.embedded), "{what}: redis left, embedded right");
        reply
    }
}

fn ending(dice: &mut Dice, lease: &Lease) -> End {
    let word = |dice: &mut Dice| *dice.pick(&["good", "good", "good", "nothing", "failed"]);
    let names: Vec<String> = lease.cand.windows.iter().map(super::rig::Win::name).collect();
    let mut end = End::verdict(word(dice), word(dice));
    match dice.roll(0, 6) {
        0 => end.sent = false,
        1 => {}
        _ => {
            let used = |w: &super::rig::Win, units: i64, dice: &mut Dice| {
                if w.limit.as_str().starts_with('t') { units * dice.roll(0, 130) / 100 } else { -1 }
            };
            let drawn = lease.cand.windows.iter().zip(&lease.units).map(|(w, u)| used(w, *u, dice)).collect();
            end.used = Some(drawn);
        }
    }
    if dice.one_in(12) {
        let limit = if names.is_empty() || dice.one_in(3) { "-" } else { &dice.pick(&names[..])[..] };
        let ms = *dice.pick(&[0, 0, 700, 5_000, 60_000]);
        end.cooldown = format!("{} {ms} {limit} 429_{limit}", dice.pick(&["k", "m", "a"]));
    }
    if !names.is_empty() && dice.one_in(4) {
        let i = usize::try_from(dice.roll(0, names.len() as i64)).unwrap();
        let w = &lease.cand.windows[i];
        let max = *dice.pick(&[-1, w.max, w.max / 2 + 1, w.max * 2]);
        let left = *dice.pick(&[-1, 0, w.max / 2, w.max]);
        end.hints = format!("{} {max} {left} {} {} ", names[i], w.scope, dice.roll(0, 2));
    }
    end.first_ms = *dice.pick(&[-1, 120, 333]);
    if dice.one_in(15) {
        end.mode = *dice.pick(&["commit", "find"]);
    }
    end
}

fn drawn(dice: &mut Dice, pool: &[Cand]) -> Vec<(Cand, Vec<i64>)> {
    let first = dice.roll(0, 6);
    let some = (0..dice.roll(1, 5)).map(|i| pool[usize::try_from((first + i) % 6).unwrap()].clone());
    some.map(|cand| (cand.clone(), units(dice, &cand))).collect()
}

fn client(dice: &mut Dice) -> TestClient {
    let client = match dice.roll(0, 3) {
        0 => TestClient::named("ann").with(&[win("rpm", 's', 40), win("rpd", 's', 2_000)]),
        1 => TestClient::named("bob").with(&[win("rph", 's', 30)]),
        _ => TestClient::default(),
    };
    TestClient { flex: dice.one_in(9), ..client.with_weight(dice.roll(1, 4)) }
}

fn control(pair: &mut Pair, dice: &mut Dice, what: &str) {
    let subject = *dice.pick(&["groq", "one", "groq/a"]);
    let change = *dice.pick(&["on", "off", "on", "reset", "order"]);
    pair.same(what, |ledger| ledger.control(change, subject));
    pair.same(what, |ledger| ledger.control("on", subject));
}

fn step(
    pair: &mut Pair,
    dice: &mut Dice,
    pool: &[Cand],
    (open, waiting): (&mut Vec<Lease>, &mut Vec<String>),
    n: usize,
) {
    pair.pass_us(*dice.pick(&[0, 0, 137, 20_411, 1_000_000, 9_900_000]));
    if dice.one_in(300) {
        pair.pass_us(dice.roll(0, 86_400_000_000));
    }
    let what = format!("step {n}");
    match dice.roll(0, 40) {
        0 => {
            pair.same(&what, TestLedger::sync);
        }
        1 => control(pair, dice, &what),
        2 => {
            let oldest = *dice.pick(&[0, 950]);
            // The fields of a hash have no order.
            pair.same(&what, |ledger| {
                let text = ledger.snapshot(oldest);
                let mut lines: Vec<String> = text.lines().flat_map(fields_of).collect();
                lines[1..].sort();
                lines
            });
            pair.same(&what, |ledger| budget(ledger, pool));
        }
        3 if !open.is_empty() => {
            // What is known is passed over; what was lost (a key of ours that is gone) comes back.
            let some: Vec<(&Lease, Option<&End>)> = open.iter().take(5).map(|lease| (lease, None)).collect();
            pair.same(&what, |ledger| ledger.repeat(&some));
        }
        4..=6 if !open.is_empty() => {
            let i = usize::try_from(dice.roll(0, open.len() as i64)).unwrap();
            let mut lease = open[i].clone();
            pair.same(&what, |ledger| ledger.renew_raw(&lease));
            pair.redis.renew(&mut lease);
            pair.embedded.renew(&mut lease);
            open[i] = lease;
        }
        7..=18 if !open.is_empty() => {
            let i = usize::try_from(dice.roll(0, open.len() as i64)).unwrap();
            let end = ending(dice, &open[i]);
            pair.same(&what, |ledger| ledger.settle(&open[i], &end));
            if end.mode == "end" && !dice.one_in(10) {
                open.remove(i);
            }
        }
        _ => {
            let client = client(dice);
            let wait = WaitRequest { wait_ms: *dice.pick(&[0, 0, -1, 5_000, 90_000]), again: false };
            let drawn = drawn(dice, pool);
            let choices: Vec<(&Cand, &[i64])> = drawn.iter().map(|(cand, units)| (cand, &units[..])).collect();
            if dice.one_in(30) && !open.is_empty() {
                let id = dice.pick(&open[..]).id.clone();
                if pair.hold(&id) {
                    pair.same(&what, |ledger| ledger.admit_raw(&id, &client, &choices, wait));
                }
                return;
            }
            if dice.one_in(4) && !waiting.is_empty() {
                let id = dice.pick(&waiting[..]).clone();
                let wait = WaitRequest { again: true, ..wait };
                match dice.roll(0, 6) {
                    4 | 5 => {
                        let first = usize::try_from(dice.roll(0, waiting.len() as i64)).unwrap();
                        let wait_ms = *dice.pick(&[0, 5_000, 90_000]);
                        let asking = |id| Asking { id, client: &client, choices: choices.clone(), wait_ms };
                        let some: Vec<Asking<'_>> = waiting[first..].iter().take(24).map(|id| asking(id)).collect();
                        pair.same(&what, |ledger| ledger.admit_list_raw(&some))
                    }
                    0 => pair.same(&what, |ledger| ledger.leave(&id)),
                    1 => pair.same(&what, |ledger| ledger.heartbeat_raw(waiting)),
                    _ => pair.same(&what, |ledger| ledger.admit_raw(&id, &client, &choices, wait)),
                };
                return;
            }
            let id = pair.redis.fresh_id();
            // Raw first, which is compared, and then typed: the same id gets the same lease.
            let raw = pair.same(&what, |ledger| ledger.admit_raw(&id, &client, &choices, wait));
            if matches!(&raw, Reply::List(items) if items[0] == Reply::Int(2)) {
                waiting.push(id);
                return;
            }
            if matches!(&raw, Reply::List(items) if items[0] == Reply::Int(1)) {
                let typed =
                    [pair.redis.admit_as(&id, &client, &choices), pair.embedded.admit_as(&id, &client, &choices)];
                if let [Admit::Go(lease), _] = typed
                    && !open.iter().any(|other| other.id == lease.id)
                {
                    open.push(lease);
                }
            }
        }
    }
    if n.is_multiple_of(50) {
        let all = |ledger: &TestLedger| {
            let mut all = ledger.charges();
            all.extend(ledger.queue_state());
            all
        };
        let (redis, embedded) = (all(&pair.redis), all(&pair.embedded));
        for (name, value) in &redis {
            assert_eq!(Some(value), embedded.get(name), "{what}: {name}");
        }
        assert_eq!(redis.len(), embedded.len(), "{what}: {embedded:?}");
    }
}

#[tokio::test]
async fn a_redis_server_and_the_embedded_store_answer_the_same() {
    let server = RedisServer::start().await;
    for seed in 0..3 {
        let redis = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
        let embedded = TestLedger::on(Box::new(SteppedEmbedded::new()));
        redis.flush();
        embedded.flush();
        let mut pair = Pair { redis, embedded };
        // Both as replicas that know nothing yet; names of epochs are the callers'.
        for ledger in [&mut pair.redis, &mut pair.embedded] {
            (ledger.epoch, ledger.seq) = (String::new(), 0);
            ledger.sync();
        }
        assert_eq!(pair.redis.epoch, pair.embedded.epoch);
        let mut dice = Dice::new(seed);
        let (pool, mut open, mut waiting) = (pool(), Vec::new(), Vec::new());
        for n in 1..=1_500 {
            step(&mut pair, &mut dice, &pool, (&mut open, &mut waiting), n);
        }
        assert!(pair.redis.seq > 300, "only {} were admitted", pair.redis.seq);
        assert!(waiting.len() > 5, "only {} got a place in line", waiting.len());
        lives(&pair);
        record(&mut pair, &mut dice);
    }
}

/// Keys live as long in both, but for what the test itself took.
fn lives(pair: &Pair) {
    let (left, right) = (pair.redis.present(), pair.embedded.present());
    for key in left.iter().filter(|key| right.contains(key)) {
        let (redis, embedded) = (pair.redis.ttl(key), pair.embedded.ttl(key));
        // One that has just died (-2) had no time left; one without an end (-1) is a mistake unless both are.
        let apart = (redis.max(0) - embedded.max(0)).abs();
        assert!(apart < 15_000 && (redis == -1) == (embedded == -1), "{key}: {redis} and {embedded} ms");
    }
}

/// Batches of one replica, some of them sent twice, into roll-ups with few names; then everything read back.
fn record(pair: &mut Pair, dice: &mut Dice) {
    let keys = Keys::new("judge");
    let member = keys.client_record("ann");
    for ledger in [&pair.redis, &pair.embedded] {
        ledger.eval("return redis.call('HSET', KEYS[1], 'v', 3, 'rec', '{\"name\":\"Ann\"}')", &member);
    }
    let rollups = [0, 60_000].map(|start| keys.rollup(Step::Minute, GroupBy::Client, start));
    let mut number = 0;
    for _ in 0..60 {
        if number == 0 || !dice.one_in(4) {
            number += 1;
        }
        let batch = batch(&keys, &rollups, number, dice);
        pair.same("record", |ledger| ledger.run(Script::Record, &batch.0, &batch.1));
    }
    let words = |words: &[&str]| words.iter().map(|word| Bytes::from((*word).to_owned())).collect::<Vec<_>>();
    let journal = [keys.totals(), keys.journal()];
    // Each engine makes ids by its own clock.
    let without_ids = |reply: Reply| match reply {
        Reply::List(items) => {
            items.into_iter().enumerate().filter(|(i, _)| *i < 3 || i % 2 == 0).map(|(_, item)| item).collect()
        }
        other => vec![other],
    };
    let newest = words(&["30", "newest", ""]);
    let lines = pair.same("journal", |ledger| without_ids(ledger.run(Script::Journal, &journal, &newest)));
    assert_eq!(lines.len(), 33, "{lines:?}");
    pair.same("all of it", |ledger| {
        without_ids(ledger.run(Script::Journal, &journal, &words(&["900", "newer", "0-0"])))
    });
    for (ledger, way) in [(&pair.redis, "older"), (&pair.embedded, "older")] {
        let Reply::List(items) = ledger.run(Script::Journal, &journal, &newest) else { panic!() };
        let tenth = super::rig::text(&items[3 + 2 * 9]);
        let rest = without_ids(ledger.run(Script::Journal, &journal, &words(&["20", way, &tenth])));
        assert_eq!(rest[3..], lines[13..], "it goes on behind the tenth");
        let newer = without_ids(ledger.run(Script::Journal, &journal, &words(&["20", "newer", &tenth])));
        assert_eq!(newer[3..].iter().rev().collect::<Vec<_>>(), lines[3..12].iter().collect::<Vec<_>>());
    }
    for names in [&[][..], &["n1", "n9", "other"]] {
        pair.same("rollup", |ledger| {
            let Reply::List(mut items) = ledger.run(Script::Rollup, &rollups, &words(names)) else { panic!() };
            items.sort_by_key(|item| format!("{item:?}"));
            items
        });
    }
    pair.same("names", |ledger| ledger.run(Script::DisplayNames, &[member.clone(), keys.client_record("bob")], &[]));
    for replica in ["one", "two", "one"] {
        pair.same("beat", |ledger| {
            ledger.run(Script::Heartbeat, &[keys.replicas(), keys.provider_keys()], &words(&[replica]))
        });
    }
    for key in [&rollups[0], &rollups[1], &keys.batch("one"), &keys.replicas()] {
        for ledger in [&pair.redis, &pair.embedded] {
            assert!(ledger.ttl(key) > 0, "{key} lives for ever");
        }
    }
    let Reply::Int(names) = pair.redis.eval("return redis.call('HLEN', KEYS[1])", &rollups[0]) else { panic!() };
    assert!(names <= 6, "five names and the rest: {names}");
}

/// One batch as `record` reads it: up to three lines, two roll-ups of at most five names.
fn batch(keys: &Keys, rollups: &[Key; 2], number: i64, dice: &mut Dice) -> (Vec<Key>, Vec<Bytes>) {
    let lines = dice.roll(1, 4);
    let mut call = vec![keys.totals(), keys.journal(), keys.batch("one")];
    let mut args = vec![number.to_string(), "150".to_owned(), lines.to_string()];
    for line in 0..lines {
        args.extend([dice.roll(0, 2).to_string(), format!("{{\"n\":\"{number}.{line} \u{e4}\"}}")]);
    }
    for rollup in rollups {
        call.push(rollup.clone());
        let first = dice.roll(0, 8);
        let names: Vec<String> = (first..first + dice.roll(1, 4)).map(|n| format!("n{n}")).collect();
        args.extend(["5000000".to_owned(), "5".to_owned(), "other".to_owned(), names.len().to_string()]);
        for name in names {
            let mut numbers: Vec<String> = (0..dice.roll(0, 8)).map(|_| dice.roll(0, 1 << 40).to_string()).collect();
            numbers.insert(0, "1".to_owned());
            args.extend([name, numbers.join(" ")]);
        }
    }
    (call, args.into_iter().map(Bytes::from).collect())
}

/// A line of a snapshot; the line of a hash field by field.
fn fields_of(line: &str) -> Vec<String> {
    match line.split_once('\t') {
        Some((hash @ ("h" | "s"), fields)) => {
            let words: Vec<&str> = fields.split('\t').collect();
            words.chunks(2).map(|field| format!("{hash} {}", field.join(" "))).collect()
        }
        _ => vec![line.to_owned()],
    }
}
