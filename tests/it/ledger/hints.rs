//! What providers say of their windows: no false alarm from our own calls, a stranger's are charged, limits are learned.

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    rig::{Cand, End, Lease, SLACK, START_MS, TestLedger, Win, cand, win},
    world::Dice,
};

const MIDNIGHT: i64 = (START_MS / 86_400_000 + 1) * 86_400_000;

/// A provider that counts what arrives and what ends, and says after each arrival what is left.
struct Teller {
    w: Win,
    /// Instant, units, in µs.
    counts: Vec<(i64, i64)>,
    level: f64,
    last: i64,
}

impl Teller {
    fn new(w: &Win) -> Self {
        Self { w: w.clone(), counts: Vec::new(), level: 0.0, last: 0 }
    }

    /// Adds units (negative: gives back), and says what is left then.
    fn add(&mut self, at: i64, units: i64) -> i64 {
        self.counts.push((at, units));
        let span = self.w.span_ms * 1000;
        let used = match self.w.kind {
            'b' => {
                let rate = self.w.max as f64 / span as f64;
                self.level = (self.level - rate * (at - self.last) as f64).max(0.0) + units as f64;
                self.level = self.level.max(0.0);
                self.last = at;
                self.level.round() as i64
            }
            'c' => self.counts.iter().filter(|c| c.0 / 86_400_000_000 == at / 86_400_000_000).map(|c| c.1).sum(),
            _ => self.counts.iter().filter(|c| c.0 > at - span).map(|c| c.1).sum(),
        };
        self.w.max - used
    }
}

/// Twenty calls in flight and more, each settled with the header that it got on arrival.
/// Returns what the ledger holds beyond what we charged.
fn talk(w: &Win, seed: u64, stranger: bool) -> i64 {
    let mut dice = Dice::new(seed);
    let mut ledger = TestLedger::new();
    if w.kind == 'c' {
        ledger.at(MIDNIGHT - dice.roll(5_000, 80_000));
    }
    let one = cand("one", std::slice::from_ref(w));
    let mut teller = Teller::new(w);
    // On their way: arrival; what is in flight: header; answered and not yet credited.
    let mut flying: Vec<(i64, Lease)> = Vec::new();
    let mut open: Vec<(Lease, i64, i64)> = Vec::new();
    let (mut charged, mut first_q) = (0, None);
    for _ in 0..600 {
        ledger.set_us(ledger.now_us() + dice.roll(0, 120_000));
        flying.sort_by_key(|(at, _)| *at);
        while flying.first().is_some_and(|(at, _)| *at <= ledger.now_us()) {
            let (at, lease) = flying.remove(0);
            if stranger && dice.one_in(10) {
                teller.add(at, w.max / 8);
            }
            let left = teller.add(at, lease.units[0]);
            open.push((lease, at, left));
        }
        if dice.one_in(2) {
            let units = if w.limit.as_str().starts_with('r') { 1 } else { dice.roll(1, w.max / 20) };
            if let super::rig::Admit::Go(lease) = ledger.ask(&one, &[units]) {
                charged += units;
                if first_q.is_none() {
                    first_q = Some(q(&ledger, &one) - units);
                }
                flying.push((ledger.now_us() + dice.roll(0, SLACK * 1000), lease));
            }
        }
        // Nobody renews here: no lease may come near its end.
        let old = open.iter().position(|(lease, _, _)| ledger.now() - lease.granted_ms > 20_000);
        if open.len() > 20 || old.is_some() || (!open.is_empty() && dice.one_in(4)) {
            let i = old.unwrap_or_else(|| usize::try_from(dice.roll(0, open.len() as i64)).unwrap());
            let (lease, _, left) = open.remove(i);
            let used = if w.limit.as_str().starts_with('r') { -1 } else { dice.roll(0, lease.units[0] + 1) };
            if used >= 0 {
                teller.add(ledger.now_us(), used - lease.units[0]);
            }
            let hints = format!("{} {} {left} m 1 ", w.limit, w.max);
            ledger.close(&lease, &End { hints, ..End::used(&[used]) });
        }
    }
    q(&ledger, &one) - first_q.unwrap() - charged
}

/// All that was ever charged to the window.
fn q(ledger: &TestLedger, one: &Cand) -> i64 {
    let fields = ledger.window(&one.window_key(&one.windows[0]));
    match fields.get("q") {
        Some(q) => q.parse::<f64>().unwrap() as i64,
        None => fields.values().map(|units| units.parse::<i64>().unwrap()).sum(),
    }
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn our_own_calls_in_flight_raise_no_false_alarm(
        w in prop_oneof![
            (20..60_i64).prop_map(|max| win("rpm", 's', max)),
            (20..60_i64).prop_map(|max| win("rpm", 'b', max)),
            (2_000..9_000_i64).prop_map(|max| win("tpm", 's', max)),
            (2_000..9_000_i64).prop_map(|max| win("tpm", 'b', max)),
            (2_000..90_000_i64).prop_map(|max| win("tpd", 'b', max)),
        ],
        seed in any::<u64>(),
    ) {
        prop_assert_eq!(talk(&w, seed, false), 0);
    }
}

#[test]
fn headers_of_a_spent_day_do_not_charge_the_next() {
    for seed in 0..40 {
        let w = win("rpd", 'c', 300).in_zone("UTC");
        let mut ledger = TestLedger::new();
        let one = cand("one", &[w]);
        ledger.at(MIDNIGHT - 17_000 - seed * 500);
        for _ in 0..280 {
            let lease = ledger.ask(&one, &[1]).go();
            ledger.close(&lease, &End::default());
        }
        let mut stream = ledger.ask(&one, &[1]).go();
        // Five more overtook it on the way to the provider.
        for _ in 0..5 {
            let lease = ledger.ask(&one, &[1]).go();
            ledger.close(&lease, &End::default());
        }
        for ms in [-15_000, 0, 20_000] {
            ledger.at(MIDNIGHT + ms);
            assert!(ledger.renew(&mut stream));
        }
        ledger.close(&stream, &End { hints: "rpd 300 14 m 1 ".to_owned(), ..End::default() });
        for n in 0..300 {
            assert!(ledger.ask(&one, &[1]).is_go(), "the new day is spent after {n}");
        }
    }
}

#[test]
fn corrections_that_run_ahead_of_a_header_are_no_stranger() {
    // (A bucket would not have room for 7000 either way: it gives back no more than cannot have drained.)
    for (name, w) in [("sliding", win("tpm", 's', 8_000)), ("calendar", win("tpd", 'c', 8_000).in_zone("UTC"))] {
        let mut ledger = TestLedger::new();
        let one = cand("one", std::slice::from_ref(&w));
        let first = ledger.ask(&one, &[3_000]).go();
        let second = ledger.ask(&one, &[3_000]).go();
        ledger.pass(1_000);
        ledger.close(&second, &End::used(&[300]));
        // It arrived after the other, and its header was written when both reserves stood.
        ledger.close(&first, &End { hints: format!("{} 8000 2000 m 1 ", w.limit), ..End::used(&[300]) });
        assert!(ledger.ask(&one, &[7_000]).is_go(), "{name}: 600 of 8000 are used, and a false alarm said more");
    }
}

#[test]
fn a_strangers_use_of_the_key_is_charged_once() {
    for w in [win("rpm", 's', 30), win("rpm", 'b', 30), win("rpd", 'c', 30).in_zone("UTC"), win("rpm", 's', 300)] {
        let mut ledger = TestLedger::new();
        let one = cand("one", std::slice::from_ref(&w));
        let open: Vec<Lease> = (0..3).map(|_| ledger.ask(&one, &[1]).go()).collect();
        // After our three, 12 of somebody else's: each of our headers tells of the same 12.
        for (i, lease) in open.iter().enumerate() {
            let left = w.max - 12 - i64::try_from(i).unwrap() - 1;
            ledger.close(lease, &End { hints: format!("{} {} {left} m 1 ", w.limit, w.max), ..End::default() });
        }
        let mut more = 0;
        while ledger.ask(&one, &[1]).is_go() {
            more += 1;
        }
        assert_eq!(more, w.max - 15, "{w:?}");
    }
}

#[test]
fn a_lower_limit_binds_at_once_and_a_higher_one_only_where_nobody_configured_it() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30)]);
    let tell = |ledger: &mut TestLedger, hint: &str| {
        let lease = ledger.ask(&one, &[1]).go();
        ledger.close(&lease, &End { hints: format!("{hint} "), ..End::default() });
    };
    let room = |ledger: &mut TestLedger| {
        ledger.pass(120_000);
        let mut n = 0;
        while ledger.ask(&one, &[1]).is_go() {
            n += 1;
        }
        ledger.pass(120_000);
        n
    };
    tell(&mut ledger, "rpm 10 -1 m 0");
    assert_eq!(room(&mut ledger), 10);
    tell(&mut ledger, "rpm 40 -1 m 0");
    assert_eq!(room(&mut ledger), 10, "the file's 30 is no licence for 40, and 40 says nothing against 10");
    tell(&mut ledger, "rpm 30 -1 m 0");
    assert_eq!(room(&mut ledger), 30);
    tell(&mut ledger, "rpm 40 -1 m 1");
    assert_eq!(room(&mut ledger), 40);
    ledger.control("reset", "one");
    assert_eq!(room(&mut ledger), 30);
}

#[test]
fn an_accounts_limit_and_a_models_of_the_same_name_are_learned_apart() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 60).of_account(), win("rpm", 's', 30)]);
    let other = one.clone().with("other", "account");
    let tell = |ledger: &mut TestLedger, hint: &str| {
        let lease = ledger.ask(&one, &[1, 1]).go();
        ledger.close(&lease, &End { hints: format!("{hint} "), ..End::default() });
        ledger.pass(120_000);
    };
    let room = |ledger: &mut TestLedger, on: &Cand| {
        let mut n = 0;
        while ledger.ask(on, &[1, 1]).is_go() {
            n += 1;
        }
        ledger.pass(120_000);
        n
    };
    tell(&mut ledger, "rpm 20 -1 m 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (20, 30));
    tell(&mut ledger, "RPM 25 -1 a 1");
    tell(&mut ledger, "rpm 28 -1 m 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (25, 25));
    tell(&mut ledger, "RPM 60 -1 a 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (28, 30));
    tell(&mut ledger, "rpm 30 -1 m 1");
    ledger.snapshot(0);
    assert_eq!(ledger.health().len(), 0, "what is as configured is not kept");
}

proptest! {
    #![proptest_config(cases(40))]

    /// Whatever limits are learned in whatever order, the ledger holds to the last one said where it may.
    #[test]
    fn the_last_limit_said_is_the_one_in_force(said in vec((1..60_i64, any::<bool>()), 1..8)) {
        let mut ledger = TestLedger::new();
        let one = cand("one", &[win("rpm", 's', 30)]);
        let mut force = 30;
        for (max, raise) in said {
            let lease = ledger.ask(&one, &[1]).go();
            ledger.close(&lease, &End { hints: format!("rpm {max} -1 m {} ", i32::from(raise)), ..End::default() });
            if max <= 30 || raise {
                force = max;
            }
            ledger.pass(120_000);
            let mut n = 0;
            while ledger.ask(&one, &[1]).is_go() {
                n += 1;
            }
            prop_assert_eq!(n, force);
            ledger.pass(120_000);
        }
    }
}

#[test]
fn a_stranger_on_the_key_is_seen_and_charged() {
    for w in [win("rpm", 's', 60), win("tpm", 'b', 8_000), win("tpm", 's', 8_000)] {
        for seed in 0..10 {
            let seen = talk(&w, seed, true);
            assert!(seen > 0, "{w:?}, seed {seed}");
        }
    }
}
