//! Rate-limit headers of providers: our own calls cause no correction, foreign use is charged, and limits are learned.

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    rig::{Cand, End, Lease, SLACK, START_MS, TestLedger, Win, cand, win},
    world::Dice,
};

const MIDNIGHT: i64 = (START_MS / 86_400_000 + 1) * 86_400_000;

/// A provider that counts arrivals and ends, and reports the remaining units after each arrival.
struct CountingProvider {
    w: Win,
    /// Instants (µs) and units.
    counts: Vec<(i64, i64)>,
    level: f64,
    last: i64,
}

impl CountingProvider {
    fn new(w: &Win) -> Self {
        Self { w: w.clone(), counts: Vec::new(), level: 0.0, last: 0 }
    }

    /// Adds units, or returns negative ones, and reports the remaining units.
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

/// Runs twenty and more calls at a time, each settled with the header of its arrival. With `foreign_use`, another user
/// of the key takes units too. Returns the units that the ledger charged beyond our own calls.
fn units_charged_beyond_ours(w: &Win, seed: u64, foreign_use: bool) -> i64 {
    let mut dice = Dice::new(seed);
    let mut ledger = TestLedger::new();
    if w.kind == 'c' {
        ledger.at(MIDNIGHT - dice.roll(5_000, 80_000));
    }
    let one = cand("one", std::slice::from_ref(w));
    let mut provider = CountingProvider::new(w);
    // `flying`: arrival of each call that is on its way. `open`: arrival and header of each call that has arrived.
    let mut flying: Vec<(i64, Lease)> = Vec::new();
    let mut open: Vec<(Lease, i64, i64)> = Vec::new();
    let (mut charged, mut first_q) = (0, None);
    for _ in 0..600 {
        ledger.set_us(ledger.now_us() + dice.roll(0, 120_000));
        flying.sort_by_key(|(at, _)| *at);
        while flying.first().is_some_and(|(at, _)| *at <= ledger.now_us()) {
            let (at, lease) = flying.remove(0);
            if foreign_use && dice.one_in(10) {
                provider.add(at, w.max / 8);
            }
            let left = provider.add(at, lease.units[0]);
            open.push((lease, at, left));
        }
        if dice.one_in(2) {
            let units = if w.limit.as_str().starts_with('r') { 1 } else { dice.roll(1, w.max / 20) };
            if let super::rig::Admit::Go(lease) = ledger.request(&one, &[units]) {
                charged += units;
                if first_q.is_none() {
                    first_q = Some(q(&ledger, &one) - units);
                }
                flying.push((ledger.now_us() + dice.roll(0, SLACK * 1000), lease));
            }
        }
        // Leases are not renewed here, so none may come near its expiry.
        let old = open.iter().position(|(lease, _, _)| ledger.now() - lease.granted_ms > 20_000);
        if open.len() > 20 || old.is_some() || (!open.is_empty() && dice.one_in(4)) {
            let i = old.unwrap_or_else(|| usize::try_from(dice.roll(0, open.len() as i64)).unwrap());
            let (lease, _, left) = open.remove(i);
            let used = if w.limit.as_str().starts_with('r') { -1 } else { dice.roll(0, lease.units[0] + 1) };
            if used >= 0 {
                provider.add(ledger.now_us(), used - lease.units[0]);
            }
            let hints = format!("{} {} {left} m 1 ", w.limit, w.max);
            ledger.close(&lease, &End { hints, ..End::used(&[used]) });
        }
    }
    q(&ledger, &one) - first_q.unwrap() - charged
}

/// All units ever charged to the window.
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
        prop_assert_eq!(units_charged_beyond_ours(&w, seed, false), 0);
    }
}

#[test]
fn headers_of_a_used_up_day_do_not_charge_the_next() {
    for seed in 0..40 {
        let w = win("rpd", 'c', 300).in_zone("UTC");
        let mut ledger = TestLedger::new();
        let one = cand("one", &[w]);
        ledger.at(MIDNIGHT - 17_000 - seed * 500);
        for _ in 0..280 {
            let lease = ledger.request(&one, &[1]).go();
            ledger.close(&lease, &End::default());
        }
        let mut stream = ledger.request(&one, &[1]).go();
        // Five later calls reached the provider before it.
        for _ in 0..5 {
            let lease = ledger.request(&one, &[1]).go();
            ledger.close(&lease, &End::default());
        }
        for ms in [-15_000, 0, 20_000] {
            ledger.at(MIDNIGHT + ms);
            assert!(ledger.renew(&mut stream));
        }
        ledger.close(&stream, &End { hints: "rpd 300 14 m 1 ".to_owned(), ..End::default() });
        for n in 0..300 {
            assert!(ledger.request(&one, &[1]).is_go(), "the new day is used up after {n}");
        }
    }
}

#[test]
fn corrections_that_precede_a_header_are_not_foreign_use() {
    // A bucket has no room for 7000 in either case, because it returns only units that cannot have drained.
    for (name, w) in [("sliding", win("tpm", 's', 8_000)), ("calendar", win("tpd", 'c', 8_000).in_zone("UTC"))] {
        let mut ledger = TestLedger::new();
        let one = cand("one", std::slice::from_ref(&w));
        let first = ledger.request(&one, &[3_000]).go();
        let second = ledger.request(&one, &[3_000]).go();
        ledger.pass(1_000);
        ledger.close(&second, &End::used(&[300]));
        // It arrived after the other call, and its header was written while both were reserved.
        ledger.close(&first, &End { hints: format!("{} 8000 2000 m 1 ", w.limit), ..End::used(&[300]) });
        assert!(
            ledger.request(&one, &[7_000]).is_go(),
            "{name}: 600 of 8000 are used, but the header was taken for foreign use"
        );
    }
}

#[test]
fn foreign_use_of_the_key_is_charged_once() {
    for w in [win("rpm", 's', 30), win("rpm", 'b', 30), win("rpd", 'c', 30).in_zone("UTC"), win("rpm", 's', 300)] {
        let mut ledger = TestLedger::new();
        let one = cand("one", std::slice::from_ref(&w));
        let open: Vec<Lease> = (0..3).map(|_| ledger.request(&one, &[1]).go()).collect();
        // After our three calls come 12 foreign ones: each of our headers includes the same 12.
        for (i, lease) in open.iter().enumerate() {
            let left = w.max - 12 - i64::try_from(i).unwrap() - 1;
            ledger.close(lease, &End { hints: format!("{} {} {left} m 1 ", w.limit, w.max), ..End::default() });
        }
        let mut more = 0;
        while ledger.request(&one, &[1]).is_go() {
            more += 1;
        }
        assert_eq!(more, w.max - 15, "{w:?}");
    }
}

#[test]
fn a_lower_limit_applies_immediately_and_a_higher_one_only_if_none_is_configured() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30)]);
    let learn = |ledger: &mut TestLedger, hint: &str| {
        let lease = ledger.request(&one, &[1]).go();
        ledger.close(&lease, &End { hints: format!("{hint} "), ..End::default() });
    };
    let room = |ledger: &mut TestLedger| {
        ledger.pass(120_000);
        let mut n = 0;
        while ledger.request(&one, &[1]).is_go() {
            n += 1;
        }
        ledger.pass(120_000);
        n
    };
    learn(&mut ledger, "rpm 10 -1 m 0");
    assert_eq!(room(&mut ledger), 10);
    learn(&mut ledger, "rpm 40 -1 m 0");
    assert_eq!(
        room(&mut ledger),
        10,
        "a configured 30 does not allow 40, and a reported 40 does not undo the learned 10"
    );
    learn(&mut ledger, "rpm 30 -1 m 0");
    assert_eq!(room(&mut ledger), 30);
    learn(&mut ledger, "rpm 40 -1 m 1");
    assert_eq!(room(&mut ledger), 40);
    ledger.control("reset", "one");
    assert_eq!(room(&mut ledger), 30);
}

/// NVIDIA's large models stop far below the account's limit, and no refusal says where.
#[test]
fn a_hidden_ceiling_is_learned_from_a_refusal_that_nothing_else_explains() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 40).account_wide(), win("rph", 's', 2_400)]);
    let refused = |ledger: &mut TestLedger| {
        let lease = ledger.request(&one, &[1, 1]).go();
        let cooldown = "m 1 - 429".to_owned();
        ledger.close(&lease, &End { hints: "rph -2 -1 m 1 ".to_owned(), cooldown, ..End::default() });
        ledger.pass(10);
    };
    let hour = |ledger: &TestLedger| super::budget::window_rows(ledger, std::slice::from_ref(&one)).remove(1);
    refused(&mut ledger);
    assert_eq!(hour(&ledger).max, 2_400, "one call proves nothing");
    for _ in 0..38 {
        ledger.request(&one, &[1, 1]).go();
    }
    refused(&mut ledger);
    assert_eq!(hour(&ledger).max, 2_400, "the account's minute explains it");
    ledger.pass(120_000);
    refused(&mut ledger);
    let row = hour(&ledger);
    assert_eq!((row.max, row.origin), (40, 3), "what was in the hour beside the refused call");
    assert!(!ledger.request(&one, &[1, 1]).is_go());
    ledger.pass(25 * 3_600_000);
    assert_eq!(hour(&ledger).max, 2_400, "a ceiling is forgotten after a day");
}

#[test]
fn an_accounts_limit_and_a_models_of_the_same_name_are_learned_apart() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 60).account_wide(), win("rpm", 's', 30)]);
    let other = one.clone().with("other", "account");
    let learn = |ledger: &mut TestLedger, hint: &str| {
        let lease = ledger.request(&one, &[1, 1]).go();
        ledger.close(&lease, &End { hints: format!("{hint} "), ..End::default() });
        ledger.pass(120_000);
    };
    let room = |ledger: &mut TestLedger, on: &Cand| {
        let mut n = 0;
        while ledger.request(on, &[1, 1]).is_go() {
            n += 1;
        }
        ledger.pass(120_000);
        n
    };
    learn(&mut ledger, "rpm 20 -1 m 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (20, 30));
    learn(&mut ledger, "RPM 25 -1 a 1");
    learn(&mut ledger, "rpm 28 -1 m 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (25, 25));
    learn(&mut ledger, "RPM 60 -1 a 1");
    assert_eq!((room(&mut ledger, &one), room(&mut ledger, &other)), (28, 30));
    learn(&mut ledger, "rpm 30 -1 m 1");
    ledger.snapshot(0);
    assert_eq!(ledger.health().len(), 0, "a limit equal to the configured one is not stored");
}

proptest! {
    #![proptest_config(cases(40))]

    /// In any order of learned limits, the last permitted one is in force.
    #[test]
    fn the_last_reported_limit_is_in_force(reported in vec((1..60_i64, any::<bool>()), 1..8)) {
        let mut ledger = TestLedger::new();
        let one = cand("one", &[win("rpm", 's', 30)]);
        let mut force = 30;
        for (max, raise) in reported {
            let lease = ledger.request(&one, &[1]).go();
            ledger.close(&lease, &End { hints: format!("rpm {max} -1 m {} ", i32::from(raise)), ..End::default() });
            if max <= 30 || raise {
                force = max;
            }
            ledger.pass(120_000);
            let mut n = 0;
            while ledger.request(&one, &[1]).is_go() {
                n += 1;
            }
            prop_assert_eq!(n, force);
            ledger.pass(120_000);
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// Of two windows of one limit a hint concerns the one of its scope, whatever both allow: the limit in force, and the units
    /// that others have used of it.
    #[test]
    fn a_hint_concerns_the_window_of_its_scope(
        configured in vec((prop::sample::select(vec!["rpm", "rpd", "tpd"]), any::<bool>(), 20..60_i64), 2..6),
        hints in vec((any::<prop::sample::Index>(), 1..80_i64, any::<bool>(), prop::option::of(0..80_i64)), 1..8),
    ) {
        let mut windows: Vec<Win> = Vec::new();
        for (limit, of_account, max) in configured {
            let window = win(limit, 's', max);
            let window = if of_account { window.account_wide() } else { window };
            if windows.iter().all(|other| (other.limit, other.scope) != (window.limit, window.scope)) {
                windows.push(window);
            }
        }
        windows.sort_by_key(|window| window.scope);
        let name = |w: &Win| if w.scope == 'a' { w.limit.as_str().to_uppercase() } else { w.limit.to_string() };
        let mut expected: Vec<i64> = windows.iter().map(|w| w.max).collect();
        let mut ledger = TestLedger::new();
        let one = cand("one", &windows);
        for (at, max, raise, remaining) in hints {
            let at = at.index(windows.len());
            let lease = ledger.request(&one, &vec![1; windows.len()]).go();
            let scope = windows[at].scope;
            let remaining = remaining.map_or(-1, |units| units.min(max));
            let hints = format!("{} {max} {remaining} {scope} {} ", name(&windows[at]), i32::from(raise));
            ledger.close(&lease, &End { hints, ..End::default() });
            for (other, row) in super::budget::window_rows(&ledger, std::slice::from_ref(&one)).iter().enumerate() {
                if other == at && remaining >= 0 {
                    prop_assert!(row.used >= 1.max(max - remaining), "{} of {max}, {remaining} left", row.used);
                } else {
                    prop_assert_eq!(row.used, 1, "{} after a hint on {}", name(&windows[other]), name(&windows[at]));
                }
            }
            if max <= windows[at].max || raise {
                expected[at] = max;
            }
            ledger.pass(2 * 86_400_000);
            let health: String = ledger.health().into_values().map(|value| value.replace('|', " ") + " ").collect();
            for (window, expected) in windows.iter().zip(&expected) {
                let prefix = format!("{}=", name(window));
                let learned = health.split(' ').find_map(|word| word.strip_prefix(prefix.as_str())?.split('@').next()?.parse().ok());
                prop_assert_eq!(learned.unwrap_or(window.max), *expected, "{} in {}", name(window), health);
            }
        }
    }
}

#[test]
fn foreign_use_of_the_key_is_detected_and_charged() {
    for w in [win("rpm", 's', 60), win("tpm", 'b', 8_000), win("tpm", 's', 8_000)] {
        for seed in 0..10 {
            let detected = units_charged_beyond_ours(&w, seed, true);
            assert!(detected > 0, "{w:?}, seed {seed}");
        }
    }
}
