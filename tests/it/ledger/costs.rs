//! Time of each script inside a real redis-server, by its own count. The figures are printed, not asserted.
//! `cargo test --test it -- --ignored --nocapture costs`

use bytes::Bytes;
use tollfree::ledger::{
    keys::{Key, Keys},
    rollup::{GroupBy, Step},
    scripts::Script,
};

use super::{
    budget::budget,
    engines::RealRedis,
    rig::{Admit, Asking, Cand, End, Lease, TestClient, TestLedger, WaitRequest, cand, win},
};
use crate::support::redis_server::RedisServer;

const ROUNDS: i64 = 2_000;

/// Ten candidates with four windows each, with Groq's limits.
fn candidates(kind: char, most: i64) -> Vec<Cand> {
    let windows = [
        win("rpm", kind, most),
        win("rpd", kind, most * 30),
        win("tpm", kind, most * 300),
        win("tpd", kind, most * 9_000),
    ];
    (0..10).map(|i| cand(&format!("provider{i}"), &windows)).collect()
}

/// Microseconds of `EVALSHA` per call since the last reset.
fn usec(server: &RedisServer) -> f64 {
    let info = server.command(&["INFO", "commandstats"]);
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("EVALSHA was called");
    let figure = line.split(',').find_map(|part| part.strip_prefix("usec_per_call=")).unwrap();
    figure.parse().unwrap()
}

fn measure(server: &RedisServer, what: &str, kind: char, mut work: impl FnMut()) {
    server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..ROUNDS {
        work();
    }

    eprintln!("{:>7.1} µs  {what}, {kind}", usec(server));
}

#[tokio::test]
#[ignore = "a measurement without assertions, for `make bench`"]
async fn costs() {
    let server = RedisServer::start().await;
    for kind in ['s', 'b'] {
        let mut ledger = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
        let ten = candidates(kind, 1_000_000);
        let units: &[i64] = &[1, 1, 800, 800];
        let choices: Vec<(&Cand, &[i64])> = ten.iter().map(|c| (c, units)).collect();
        let none = TestClient::default();
        let ann = TestClient::named("ann").with(&[win("rpm", 's', 1_000_000), win("rpd", 's', 1_000_000)]);
        let mut leases: Vec<Lease> = Vec::new();
        let mut grant = |ledger: &mut TestLedger, client: &TestClient, choices: &[(&Cand, &[i64])]| {
            ledger.pass(7);
            leases.push(ledger.admit(client, choices).go());
        };
        measure(&server, "admit, one candidate of four windows", kind, || grant(&mut ledger, &none, &choices[..1]));
        measure(&server, "admit, ten candidates, first one free", kind, || grant(&mut ledger, &none, &choices));
        measure(&server, "the same, a client with two windows", kind, || grant(&mut ledger, &ann, &choices));
        let mut next = leases.iter();
        let end = End { first_ms: 300, ..End { used: Some(vec![-1, -1, 500, 500]), ..End::verdict("good", "good") } };
        measure(&server, "settle", kind, || ledger.close(next.next().unwrap(), &end));

        let full = candidates(kind, 30);
        let small: &[i64] = &[1, 1, 300, 300];
        for one in &full {
            while let Admit::Go(_) = ledger.request(one, small) {
                ledger.pass(3);
            }
        }
        let choices: Vec<(&Cand, &[i64])> = full.iter().map(|c| (c, small)).collect();
        measure(&server, "admit, ten full candidates, the same size again", kind, || {
            ledger.admit(&none, &choices).no();
        });
        let mut size = 0;
        measure(&server, "admit, ten full candidates, another size each time", kind, || {
            size = (size + 7) % 200;
            let units = [1, 1, 300 + size, 300 + size];
            let choices: Vec<(&Cand, &[i64])> = full.iter().map(|c| (c, &units[..])).collect();
            ledger.admit(&none, &choices).no();
        });
        measure(&server, "snapshot of the windows of twenty candidates", kind, || {
            ledger.snapshot(0);
        });
        let six = candidates(kind, 1_000_000)[..6].to_vec();
        measure(&server, "budget of 24 windows", kind, || drop(budget(&ledger, &six)));
        ledger.flush();
    }
    let ledger = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
    let session = [Keys::new("judge").affinity("one")];
    let affinity = |what: &str, args: [&'static str; 2]| {
        measure(&server, what, '-', || drop(ledger.run(Script::Affinity, &session, &args.map(Bytes::from))));
    };
    affinity("affinity, kept", ["1800000", "groq/main/openai/gpt-oss-120b"]);
    affinity("affinity, read and renewed", ["1800000", ""]);
    for (requests, clients) in [(1, 1), (10, 5), (128, 40)] {
        let ledger = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
        let mut number = 0;
        measure(&server, &format!("record of {requests} requests by {clients} clients, four models each"), '-', || {
            number += 1;
            let (keys, args) = batch(number, requests, clients);
            ledger.run(Script::Record, &keys, &args);
        });
    }
}

/// Microseconds of each `EVALSHA` since the slow log was cleared.
fn each_usec(log: &mut redis::Connection) -> Vec<i64> {
    type Entry = (i64, i64, i64, Vec<Vec<u8>>, String, String);
    let entries: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(log).unwrap();
    redis::cmd("SLOWLOG").arg("RESET").exec(log).unwrap();
    entries.iter().filter(|entry| entry.3[0] == b"EVALSHA").map(|entry| entry.2).collect()
}

fn print_calls(what: &str, usec: &[i64], per: usize, bar: &str) {
    let (sum, longest) = (usec.iter().sum::<i64>(), usec.iter().max().copied().unwrap_or(0));
    let each = sum as f64 / per.max(1) as f64;
    eprintln!("{each:>7.1} µs  {what}, {} calls, the longest {:.2} ms   {bar}", usec.len(), longest as f64 / 1_000.0);
}

/// A window of 300 that opens over a crowd of ten replicas.
#[tokio::test]
#[ignore = "a measurement without assertions, for `make bench`"]
async fn costs_of_a_crowd() {
    const REPLICAS: usize = 10;
    let server = RedisServer::start().await;
    let mut log = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    for (name, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "200000"), ("hz", "1")] {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut log).unwrap();
    }
    for kind in ['s', 'b'] {
        for waiting in [10, 100, 1_000, 10_000] {
            let mut ledger = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
            ledger.flush();
            ledger.sync();
            ledger.pass(600); // it holds
            let cand = cand("groq", &[win("rpm", kind, 300), win("tpm", kind, 90_000)]);
            let clients: Vec<TestClient> = (0..20).map(|n| TestClient::named(&format!("client{n}"))).collect();
            while ledger.request(&cand, &[1, 200]).is_go() {}
            each_usec(&mut log);
            let mut tickets: Vec<Vec<(String, usize)>> = vec![Vec::new(); REPLICAS];
            for n in 0..waiting {
                let (id, client) = (ledger.fresh_id(), n * 7 % clients.len());
                let wait = WaitRequest { wait_ms: 3_000_000, again: false };
                assert!(matches!(
                    ledger.admit_queued(&id, &clients[client], &[(&cand, &[1, 200])], wait),
                    Admit::Wait(_)
                ));
                tickets[n % REPLICAS].push((id, client));
            }
            let enqueued = each_usec(&mut log);
            let newest = enqueued[..enqueued.len().min(50)].to_vec(); // the log starts with the last
            print_calls(&format!("enqueued behind {waiting}"), &newest, newest.len(), "(bar: no call above 5 ms)");
            let all: Vec<&str> = tickets.iter().flatten().map(|(id, _)| id.as_str()).collect();
            for _ in 0..22 {
                ledger.pass(2_760);
                for some in all.chunks(500) {
                    ledger.heartbeat(some);
                }
            }
            print_calls("heartbeat of up to 500 tickets", &each_usec(&mut log), 22 * waiting.div_ceil(500), "");
            let mut admitted = 0;
            loop {
                let before = admitted;
                for own in &mut tickets {
                    let some: Vec<(String, usize)> = own.iter().take(24).cloned().collect();
                    let ask = |(id, client): &'_ (String, usize)| (id.clone(), clients[*client].clone());
                    let copies: Vec<(String, TestClient)> = some.iter().map(ask).collect();
                    let asking =
                        |(id, client)| Asking { id, client, choices: vec![(&cand, &[1, 200][..])], wait_ms: 60_000 };
                    let asking: Vec<Asking<'_>> = copies.iter().map(|(id, client)| asking((id, client))).collect();
                    if asking.is_empty() {
                        continue;
                    }
                    let replies = ledger.admit_list(&asking);
                    let mut went = replies.iter().map(Admit::is_go);
                    own.retain(|_| !went.next().unwrap_or(false));
                    admitted += replies.iter().filter(|reply| reply.is_go()).count();
                }
                if admitted == before {
                    break;
                }
            }
            let what = format!("admitted {admitted} out of {waiting} in lists, {kind}");
            print_calls(&what, &each_usec(&mut log), admitted, "(bar: 100 µs, no call above 5 ms)");
        }
    }
}

/// One batch of a replica: every roll-up of a minute, its hour and its day.
fn batch(number: usize, requests: usize, clients: usize) -> (Vec<Key>, Vec<Bytes>) {
    let names = Keys::new("judge");
    let mut keys = vec![names.totals(), names.journal(), names.batch("one")];
    let mut args = vec![number.to_string(), "10000".to_owned(), requests.to_string()];
    for _ in 0..requests {
        args.extend(["1".to_owned(), "x".repeat(600)]);
    }
    let wide = requests.min(clients * 4);
    for (step, by, count) in [
        (Step::Minute, GroupBy::Client, clients),
        (Step::Minute, GroupBy::Provider, 3),
        (Step::Minute, GroupBy::Model, 4),
        (Step::Minute, GroupBy::ClientModel, wide),
        (Step::Minute, GroupBy::Window, wide),
        (Step::Hour, GroupBy::Window, wide),
        (Step::Day, GroupBy::Client, clients),
        (Step::Day, GroupBy::Provider, 3),
        (Step::Day, GroupBy::Model, 4),
        (Step::Day, GroupBy::ClientModel, wide),
        (Step::Day, GroupBy::Window, wide),
    ] {
        let count = count.min(requests);
        keys.push(names.rollup(step, by, 0));
        let most = by.max_names(step).to_string();
        args.extend(["9000000".to_owned(), most, "other".to_owned(), count.to_string()]);
        for name in 0..count {
            args.extend([format!("client{name}"), "3 3 0 0 1200 900 0 0 0 0 1 2".to_owned()]);
        }
    }
    (keys, args.into_iter().map(Bytes::from).collect())
}
