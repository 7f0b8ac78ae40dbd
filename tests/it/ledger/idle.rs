//! Guarantees 2 and 9: under demand windows are used fully, and an idle pool decays to its bounded keys.

use super::{
    rig::{Admit, Cand, End, START_MS, TestClient, TestLedger, Win, cand, win},
    world::{Dice, World},
};

/// Requests at every instant that a refusal names, or up to `late_us` later. Returns the used share of the limit.
fn share(w: &Win, seed: u64, spans: i64, late_us: i64, units: impl Fn(&mut Dice) -> i64) -> f64 {
    let one = cand("one", std::slice::from_ref(w));
    let mut world = World::new(std::slice::from_ref(&one), seed);
    let from = START_MS + w.span_ms * 2;
    let end = from + w.span_ms * spans;
    let mut used = 0;
    while world.ledger.now() < end {
        let wanted = units(&mut world.dice);
        let late = world.dice.roll(0, late_us + 1);
        loop {
            let arrived = world.ledger.now_us();
            match world.ledger.request(&one, &[wanted]) {
                Admit::Go(lease) => {
                    used += if world.ledger.now() >= from { wanted } else { 0 };
                    world.ledger.close(&lease, &End::default());
                    world.note(lease, arrived);
                    let last = world.calls.len() - 1;
                    world.calls[last].open = false;
                    break;
                }
                Admit::No(refusal) => world.ledger.set_us(refusal.opens * 1000 + late),
                other => panic!("{other:?}"),
            }
        }
    }
    used as f64 / (w.max * spans) as f64
}

#[test]
fn under_enough_demand_98_of_100_requests_of_a_minute_or_a_day_are_used() {
    let one = |_: &mut Dice| 1;
    for (w, spans) in [
        (win("rpm", 's', 30), 20),
        (win("rpm", 's', 1), 60),
        (win("rpm", 's', 600), 6),
        (win("rpm", 'b', 30), 20),
        (win("rpm", 'b', 600), 6),
        (win("rpd", 'b', 1_000), 4),
        (win("rpd", 's', 1_000), 4),
        (win("rph", 's', 100), 10),
    ] {
        let used = share(&w, 1, spans, 1_000, one);
        assert!(used >= 0.98, "{} {}: {used} of {}", w.limit, w.kind, w.max);
    }
}

#[test]
fn under_enough_demand_90_of_100_tokens_are_used() {
    for kind in ['s', 'b'] {
        for (name, max) in [("tpm", 8_000), ("tpm", 250_000), ("tpd", 200_000)] {
            let w = win(name, kind, max);
            let used = share(&w, 2, 8, 1_000, |dice| dice.roll(max / 80, max / 10));
            assert!(used >= 0.9, "{name} {kind} {max}: {used}");
        }
    }
}

#[test]
fn a_second_reaches_four_fifths() {
    for kind in ['s', 'b'] {
        let used = share(&win("rps", kind, 5), 3, 400, 1_000, |_| 1);
        assert!(used >= 0.78, "{kind}: {used}");
    }
}

#[test]
fn an_idle_pool_decays_to_its_bounded_keys() {
    let windows = [
        win("rps", 's', 5),
        win("rpm", 's', 30),
        win("rpm", 'b', 30).account_wide(),
        win("rpd", 'b', 1_000),
        win("tpm", 'm', 9_000),
        win("tpd", 'c', 90_000).in_zone("UTC"),
        win("rpmonth", 'c', 900).in_zone("UTC"),
        win("concurrency", 'n', 9),
    ];
    let pool: Vec<Cand> = (0..5).map(|i| cand("one", &windows).with(&format!("m{i}"), "x")).collect();
    let mut ledger = TestLedger::new();
    let mut dice = Dice::new(5);
    for n in 0..2_000 {
        ledger.pass(dice.roll(0, 900));
        let client = TestClient::named(&format!("anon:{}", n % 50)).with(&[win("rpm", 's', 10), win("rpd", 's', 50)]);
        let on = dice.pick(&pool).clone();
        if let Admit::Go(lease) = ledger.admit(&client, &[(&on, &[1, 1, 1, 1, 90, 90, 1, 1])]) {
            let verdict = *dice.pick(&["good", "failed", "nothing"]);
            let end = match dice.roll(0, 5) {
                0 => continue,
                1 => End { cooldown: "m 6000 - 429".to_owned(), ..End::default() },
                2 => End { hints: "rpd 900 800 m 1 tpd 80000 70000 m 1 ".to_owned(), ..End::default() },
                3 => End::not_sent(),
                _ => End { used: Some(vec![-1, -1, -1, -1, 200, 10, -1, -1]), ..End::verdict(verdict, verdict) },
            };
            ledger.settle(&lease, &end);
        }
    }
    let on = pool[0].clone();
    ledger.control("reset", "one");
    ledger.request(&on, &[1; 8]);
    ledger.snapshot(0);
    let busy = ledger.present();
    for part in [":c:anon", ":w:", ":l:"] {
        assert!(busy.iter().any(|key| key.contains(part)), "no {part}: {:?}", ledger.health());
    }
    for key in &busy {
        let bounded = ["meta", "health", "speed"].iter().any(|name| key.ends_with(name));
        assert!(bounded || ledger.ttl(key) > 0, "{key} never expires");
    }
    // Idle replicas still keep the pool known.
    for _ in 0..70 {
        ledger.pass(86_400_000);
        ledger.sync();
        ledger.snapshot(0);
    }
    ledger.pass(10_000);
    let left: Vec<String> = ledger.present().iter().map(|key| key.rsplit(':').next().unwrap().to_owned()).collect();
    assert!(left.iter().all(|name| ["meta", "health", "speed"].contains(&&name[..])), "{left:?}");
    let health = ledger.health();
    assert!(health.keys().all(|field| ["p:", "b:", "m:"].contains(&&field[..2])), "{health:?}");
}
