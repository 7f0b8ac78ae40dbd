//! What the scripts cost a real redis-server, µs inside Redis by its own count: told, never asserted.
//! `cargo test --test it -- --ignored --nocapture costs`

use super::{
    host::RealRedis,
    rig::{Admit, Asker, Cand, End, Lease, TestLedger, cand, win},
};
use crate::support::redis_server::RedisServer;

const ROUNDS: i64 = 2_000;

/// Ten candidates of four windows, as Groq has them; or of sliding ones.
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

fn tell(server: &RedisServer, what: &str, kind: char, mut work: impl FnMut()) {
    server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..ROUNDS {
        work();
    }

    eprintln!("{:>7.1} µs  {what}, {kind}", usec(server));
}

#[tokio::test]
#[ignore = "told, not asserted: for `make bench`"]
async fn costs() {
    let server = RedisServer::start().await;
    for kind in ['s', 'b'] {
        let mut ledger = TestLedger::on(Box::new(RealRedis::connect(&server.url())));
        let ten = candidates(kind, 1_000_000);
        let units: &[i64] = &[1, 1, 800, 800];
        let choices: Vec<(&Cand, &[i64])> = ten.iter().map(|c| (c, units)).collect();
        let none = Asker::default();
        let ann = Asker::named("ann").with(&[win("rpm", 's', 1_000_000), win("rpd", 's', 1_000_000)]);
        let mut leases: Vec<Lease> = Vec::new();
        let mut grant = |ledger: &mut TestLedger, asker: &Asker, choices: &[(&Cand, &[i64])]| {
            ledger.pass(7);
            leases.push(ledger.admit(asker, choices).go());
        };
        tell(&server, "admit, one candidate of four windows", kind, || grant(&mut ledger, &none, &choices[..1]));
        tell(&server, "admit, ten candidates, first one free", kind, || grant(&mut ledger, &none, &choices));
        tell(&server, "the same, a client with two windows", kind, || grant(&mut ledger, &ann, &choices));
        let mut next = leases.iter();
        let end = End { first_ms: 300, ..End { used: Some(vec![-1, -1, 500, 500]), ..End::verdict("good", "good") } };
        tell(&server, "settle", kind, || ledger.close(next.next().unwrap(), &end));

        let full = candidates(kind, 30);
        let small: &[i64] = &[1, 1, 300, 300];
        for one in &full {
            while let Admit::Go(_) = ledger.ask(one, small) {
                ledger.pass(3);
            }
        }
        let choices: Vec<(&Cand, &[i64])> = full.iter().map(|c| (c, small)).collect();
        tell(&server, "admit, ten full candidates, the same size again", kind, || {
            ledger.admit(&none, &choices).no();
        });
        let mut size = 0;
        tell(&server, "admit, ten full candidates, another size each time", kind, || {
            size = (size + 7) % 200;
            let units = [1, 1, 300 + size, 300 + size];
            let choices: Vec<(&Cand, &[i64])> = full.iter().map(|c| (c, &units[..])).collect();
            ledger.admit(&none, &choices).no();
        });
        tell(&server, "snapshot of the windows of twenty candidates", kind, || {
            ledger.snapshot(0);
        });
        ledger.flush();
    }
}
