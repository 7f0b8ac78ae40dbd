//! Guarantees 1, 3 and 5 over random histories: no window over its limit, all or nothing, an exact Retry-After.

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    rig::{Cand, SLACK, TestClient, Win, cand, win},
    world::World,
};
use tollfree::domain::Unit;

#[derive(Debug, Clone)]
enum Step {
    /// Advances the clock by µs.
    Pass(i64),
    /// Sends `n` requests at this instant, with the candidates in an order that starts at `first`.
    Burst {
        first: usize,
        n: usize,
        size: i64,
    },
    /// Verifies the instant that the next refusal names.
    VerifyRefusal {
        first: usize,
        size: i64,
    },
    /// Settles with a percentage of the charge. Above 100 the reply was longer than estimated.
    Settle {
        which: usize,
        percent: i64,
    },
    Unknown {
        which: usize,
    },
    TakeBack {
        which: usize,
    },
    Die {
        which: usize,
    },
}

fn pass() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..3_000_i64,
        1_000..2_000_000_i64,
        1_000_000..70_000_000_i64,
        Just(1_000_000),
        Just(60_000_000),
        Just(60_250_000),
        60_000_000..90_000_000_000_i64,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..50_usize;
    prop_oneof![
        3 => pass().prop_map(Step::Pass),
        4 => (0..3_usize, 1..40_usize, size()).prop_map(|(first, n, size)| Step::Burst { first, n, size }),
        2 => (0..3_usize, size()).prop_map(|(first, size)| Step::VerifyRefusal { first, size }),
        3 => (which.clone(), 0..130_i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        1 => which.clone().prop_map(|which| Step::Unknown { which }),
        1 => which.clone().prop_map(|which| Step::TakeBack { which }),
        1 => which.prop_map(|which| Step::Die { which }),
    ]
}

/// Size in thousandths of the limit, times four. A few sizes are frequent, because refusals are memoized by size.
fn size() -> impl Strategy<Value = i64> {
    prop_oneof![Just(5_i64), Just(40), Just(90), 0..201_i64]
}

/// A window of a kind that providers use, small enough to be filled.
fn window() -> impl Strategy<Value = Win> {
    prop_oneof![
        (1..40_i64).prop_map(|max| win("rpm", 's', max)),
        (129..300_i64).prop_map(|max| win("rpm", 's', max)),
        (1..40_i64).prop_map(|max| win("rpm", 'b', max)),
        (1..6_i64).prop_map(|max| win("rps", 's', max)),
        (1..6_i64).prop_map(|max| win("rps", 'b', max)),
        (1..100_i64).prop_map(|max| win("rpd", 's', max)),
        (1..100_i64).prop_map(|max| win("rpd", 'b', max)),
        (1..100_i64).prop_map(|max| win("rpd", 'c', max).in_zone("America/Los_Angeles")),
        (1..100_i64).prop_map(|max| win("rpd", 'c', max).in_zone("UTC")),
        (500..9_000_i64).prop_map(|max| win("tpm", 's', max)),
        (500..9_000_i64).prop_map(|max| win("tpm", 'b', max)),
        (500..9_000_i64).prop_map(|max| win("tpm", 'm', max)),
        (9_000..90_000_i64).prop_map(|max| win("tpd", 's', max)),
        (9_000..90_000_i64).prop_map(|max| win("tpd", 'b', max)),
        (1..10_i64).prop_map(|max| win("concurrency", 'n', max)),
    ]
}

/// One to four windows with different limits, some of them account-wide.
fn windows() -> impl Strategy<Value = Vec<Win>> {
    vec((window(), any::<bool>()), 1..5).prop_map(|drawn| {
        let mut list: Vec<Win> = Vec::new();
        for (w, shared) in drawn {
            if !list.iter().any(|other| other.limit == w.limit) {
                list.push(if shared { w.account_wide() } else { w });
            }
        }
        list
    })
}

/// Three candidates: two models of one account with the same windows, and another provider.
fn candidates() -> impl Strategy<Value = Vec<Cand>> {
    (windows(), windows()).prop_map(|(one, other)| {
        vec![cand("one", &one).with("a", "x"), cand("one", &one).with("b", "x"), cand("other", &other)]
    })
}

fn clients() -> impl Strategy<Value = TestClient> {
    prop_oneof![
        2 => Just(TestClient::default()),
        1 => (1..60_i64, 1..300_i64).prop_map(|(rpm, rpd)| {
            TestClient::named("ann").with(&[win("rpm", 's', rpm), win("rpd", 's', rpd)])
        }),
        1 => (10..200_i64).prop_map(|tpm| TestClient::named("ben").with(&[win("tpm", 's', tpm)])),
    ]
}

/// Units of each window for a request of this size (0 to 100).
fn units(cand: &Cand, size: i64) -> Vec<i64> {
    let of = |w: &Win| match w.limit.unit() {
        Unit::Request | Unit::Slot => 1,
        _ => (w.max * size / 250).max(1),
    };
    cand.windows.iter().map(of).collect()
}

fn run(cands: &[Cand], client: &TestClient, steps: &[Step], start_us: i64) -> World {
    let mut world = World::new(cands, 7);
    world.ledger.set_us(world.ledger.now_us() + start_us);
    for step in steps {
        let open = world.open_calls();
        let chosen = |which: &usize| (!open.is_empty()).then(|| open[which % open.len()]);
        match step {
            Step::Pass(us) => world.pass_us(*us),
            Step::Burst { first, n, size } => {
                for _ in 0..*n {
                    let order: Vec<(Cand, Vec<i64>)> = order(cands, *first, *size);
                    let choices: Vec<(&Cand, &[i64])> = order.iter().map(|(c, u)| (c, &u[..])).collect();
                    world.admit(client, &choices);
                }
            }
            Step::VerifyRefusal { first, size } => {
                let order = order(cands, *first, *size);
                let choices: Vec<(&Cand, &[i64])> = order.iter().map(|(c, u)| (c, &u[..])).collect();
                for _ in 0..50 {
                    if world.admit(client, &choices).is_some() {
                        let before = world.ledger.charges();
                        let refusal = world.admit(client, &choices).expect("refused a moment ago");
                        assert_eq!(world.ledger.charges(), before, "a refusal changed a charge");
                        world.verify_refusal(&refusal, client, &choices);
                        break;
                    }
                }
            }
            Step::Settle { which, percent } => {
                if let Some(i) = chosen(which) {
                    let call = &world.calls[i];
                    let used = call.lease.cand.windows.iter().zip(&call.lease.units).map(|(w, units)| {
                        if matches!(w.limit.unit(), Unit::Request | Unit::Slot) { -1 } else { units * percent / 100 }
                    });
                    world.settle(i, Some(used.collect()));
                }
            }
            Step::Unknown { which } => {
                if let Some(i) = chosen(which) {
                    world.settle(i, None);
                }
            }
            Step::TakeBack { which } => {
                if let Some(i) = chosen(which) {
                    world.take_back(i);
                }
            }
            Step::Die { which } => {
                if let Some(i) = chosen(which) {
                    world.die(i);
                }
            }
        }
    }
    world
}

fn order(cands: &[Cand], first: usize, size: i64) -> Vec<(Cand, Vec<i64>)> {
    (0..cands.len()).map(|i| &cands[(first + i) % cands.len()]).map(|c| (c.clone(), units(c, size))).collect()
}

/// Steps at the pace of one window: by thousandths of its span, by the slack and by single ms.
fn paced(span_ms: i64) -> impl Strategy<Value = Step> {
    let pass = prop_oneof![
        3 => (0..1_100_i64).prop_map(move |part| Step::Pass(span_ms * part)),
        1 => (0..3_000_i64).prop_map(Step::Pass),
        1 => prop_oneof![Just(span_ms), Just(span_ms + SLACK), Just(SLACK), Just(span_ms / 128)]
            .prop_map(|ms| Step::Pass(ms * 1000)),
    ];
    let which = 0..50_usize;
    prop_oneof![
        3 => pass,
        4 => (0..1_usize, 1..12_usize, size()).prop_map(|(first, n, size)| Step::Burst { first, n, size }),
        2 => (0..1_usize, size()).prop_map(|(first, size)| Step::VerifyRefusal { first, size }),
        3 => (which.clone(), 0..130_i64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        1 => which.clone().prop_map(|which| Step::Unknown { which }),
        1 => which.clone().prop_map(|which| Step::TakeBack { which }),
        1 => which.prop_map(|which| Step::Die { which }),
    ]
}

/// One candidate with this window, and a history at the window's pace.
fn alone(span_ms: i64, of: impl Strategy<Value = Win>) -> impl Strategy<Value = (Vec<Cand>, Vec<Step>)> {
    (of, vec(paced(span_ms), 1..70)).prop_map(|(w, steps)| (vec![cand("one", &[w])], steps))
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

macro_rules! never_over {
    ($($(#[$doc:meta])* $name:ident: $span:expr, $window:expr;)*) => {
        proptest! {
            #![proptest_config(cases(60))]
            $($(#[$doc])* #[test] fn $name((cands, steps) in alone($span, $window), start_us in 0..90_000_000_000_i64) {
                run(&cands, &TestClient::default(), &steps, start_us).assert_within_limits();
            })*
        }
    };
}

never_over! {
    a_logged_sliding_window_is_never_over: MINUTE, (1..129_i64).prop_map(|max| win("tpm", 's', max));
    a_sliding_window_of_sub_buckets_is_never_over: MINUTE, (129..9_000_i64).prop_map(|max| win("tpm", 's', max));
    a_sliding_window_of_requests_is_never_over: MINUTE, (1..40_i64).prop_map(|max| win("rpm", 's', max));
    a_sliding_second_is_never_over: 1_000, (1..200_i64).prop_map(|max| win("rps", 's', max));
    a_sliding_day_is_never_over: DAY, (129..9_000_i64).prop_map(|max| win("tpd", 's', max));
    a_window_debited_at_the_end_is_never_over: MINUTE, (1..9_000_i64).prop_map(|max| win("tpm", 'm', max));
    a_bucket_of_tokens_is_never_over: MINUTE, (1..9_000_i64).prop_map(|max| win("tpm", 'b', max));
    a_bucket_of_requests_is_never_over: MINUTE, (1..40_i64).prop_map(|max| win("rpm", 'b', max));
    a_bucket_of_a_second_is_never_over: 1_000, (1..40_i64).prop_map(|max| win("rps", 'b', max));
    a_bucket_of_a_day_is_never_over: DAY, (1..99_000_i64).prop_map(|max| win("tpd", 'b', max));
    a_calendar_day_is_never_over: DAY, (1..9_000_i64).prop_map(|max| win("tpd", 'c', max).in_zone("Europe/Berlin"));
    slots_are_never_over: 30_000, (1..12_i64).prop_map(|max| win("concurrency", 'n', max));
}

proptest! {
    #![proptest_config(cases(120))]

    /// In any interleaving of admissions, settlements, cancellations and crashes, no provider counts more than its
    /// windows allow, no refusal changes the state, and a retry at the named instant is admitted.
    #[test]
    fn no_history_brings_a_window_over_its_limit(
        cands in candidates(),
        client in clients(),
        steps in vec(step(), 1..60),
        start_us in 0..86_400_000_000_i64,
    ) {
        run(&cands, &client, &steps, start_us).assert_within_limits();
    }
}
