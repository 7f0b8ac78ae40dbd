//! Guarantees 6 and 7: one probe at a time, no stuck breaker, and cooldowns, switches and revocations apply to every
//! replica immediately.

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    rig::{Admit, Cand, End, LEASE_TTL, Lease, START_MS, TestClient, TestLedger, cand, win},
};

const OPEN: i64 = 30_000;

fn roomy(provider: &str) -> Cand {
    cand(provider, &[win("rpm", 's', 100_000)])
}

fn fail(ledger: &mut TestLedger, on: &Cand, times: usize) {
    for _ in 0..times {
        let lease = ledger.request(on, &[1]).go();
        ledger.close(&lease, &End::verdict("failed", "nothing"));
    }
}

/// Whether this lease is a probe of the provider's breaker and of the model's.
fn probes(lease: &Lease) -> [bool; 2] {
    let (numbers, _) = lease.packed.as_chunks();
    [3, 4].map(|at| f64::from_le_bytes(numbers[at]) != 0.0)
}

#[test]
fn three_failures_in_a_row_open_a_breaker_for_every_replica() {
    let mut here = TestLedger::new();
    let mut there = here.another();
    there.sync();
    let one = roomy("one");
    fail(&mut here, &one, 2);
    let good = here.request(&one, &[1]).go();
    here.close(&good, &End::verdict("good", "good"));
    fail(&mut here, &one, 2);
    there.request(&one, &[1]).go();
    fail(&mut here, &one, 1);
    let refusal = there.request(&one, &[1]).no();
    assert_eq!((&refusal.reasons[0].why[..], refusal.opens, refusal.exact), ("breaker", START_MS + OPEN, true));
    // It applies to all models of the provider and to no other provider.
    there.request(&one.clone().with("other", "account"), &[1]).no();
    there.request(&roomy("two"), &[1]).go();
}

#[test]
fn failures_of_a_model_do_not_affect_other_models_of_its_provider() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    for _ in 0..3 {
        let lease = ledger.request(&one, &[1]).go();
        ledger.close(&lease, &End::verdict("nothing", "failed"));
    }
    assert_eq!(ledger.request(&one, &[1]).no().reasons[0].why, "breaker");
    ledger.request(&one.with("other", "account"), &[1]).go();
}

#[test]
fn a_half_open_breaker_admits_one_probe_at_a_time_and_two_successes_close_it() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    fail(&mut ledger, &one, 3);
    ledger.pass(OPEN);
    for _ in 0..2 {
        let probe = ledger.request(&one, &[1]).go();
        assert_eq!(probes(&probe), [true, false]);
        let refusal = ledger.request(&one, &[1]).no();
        assert_eq!((&refusal.reasons[0].why[..], refusal.exact), ("probe", false));
        ledger.close(&probe, &End::verdict("good", "good"));
    }
    let open = [ledger.request(&one, &[1]).go(), ledger.request(&one, &[1]).go()];
    assert!(open.iter().all(|lease| probes(lease) == [false, false]));
}

#[test]
fn a_failed_probe_reopens_the_breaker_and_one_without_a_verdict_allows_the_next() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    fail(&mut ledger, &one, 3);
    ledger.pass(OPEN);
    let left = ledger.request(&one, &[1]).go();
    ledger.close(&left, &End::default());
    let failed = ledger.request(&one, &[1]).go();
    ledger.close(&failed, &End::verdict("failed", "nothing"));
    let refusal = ledger.request(&one, &[1]).no();
    assert_eq!((&refusal.reasons[0].why[..], refusal.opens), ("breaker", START_MS + 2 * OPEN));
}

#[test]
fn a_dead_replicas_probe_is_replaced_after_its_deadline() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    fail(&mut ledger, &one, 3);
    ledger.pass(OPEN);
    let dead = ledger.request(&one, &[1]).go();
    ledger.pass(LEASE_TTL - 1);
    assert_eq!(ledger.request(&one, &[1]).no().reasons[0].why, "probe");
    ledger.pass(1);
    let next = ledger.request(&one, &[1]).go();
    assert_eq!(probes(&next), [true, false]);
    // A late outcome of the dead replica belongs to another generation.
    ledger.settle(&dead, &End::verdict("failed", "nothing"));
    ledger.close(&next, &End::verdict("good", "good"));
    ledger.request(&one, &[1]).go();
}

#[test]
fn late_outcomes_of_an_older_generation_neither_reopen_nor_close() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    let late: Vec<Lease> = (0..6).map(|_| ledger.request(&one, &[1]).go()).collect();
    fail(&mut ledger, &one, 3);
    let opened = ledger.health()["p:one"].clone();
    ledger.close(&late[0], &End::verdict("good", "good"));
    ledger.close(&late[1], &End::verdict("failed", "nothing"));
    assert_eq!(ledger.health()["p:one"], opened);
    ledger.pass(OPEN - 1);
    for lease in &late[2..4] {
        ledger.close(lease, &End::verdict("good", "good"));
    }
    ledger.pass(1);
    for _ in 0..2 {
        let probe = ledger.request(&one, &[1]).go();
        ledger.close(&probe, &End::verdict("good", "good"));
    }
    for lease in &late[4..] {
        ledger.settle(lease, &End::verdict("failed", "nothing"));
    }
    fail(&mut ledger, &one, 2);
    ledger.request(&one, &[1]).go();
}

#[test]
fn a_probe_is_decided_once_by_its_first_content() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    fail(&mut ledger, &one, 3);
    ledger.pass(OPEN);
    let first = ledger.request(&one, &[1]).go();
    ledger.close(&first, &End { mode: "commit", ..End::verdict("good", "good") });
    let second = ledger.request(&one, &[1]).go();
    ledger.close(&second, &End { mode: "commit", ..End::verdict("good", "good") });
    ledger.request(&one, &[1]).go();
    // Later interruptions count as failures of a closed breaker.
    ledger.close(&second, &End::verdict("failed", "nothing"));
    fail(&mut ledger, &one, 2);
    assert_eq!(ledger.request(&one, &[1]).no().reasons[0].why, "breaker");
}

#[test]
fn a_switch_a_reset_and_a_lower_limit_apply_to_the_next_admission_of_every_replica() {
    let mut here = TestLedger::new();
    let mut there = here.another();
    there.sync();
    let one = roomy("one");
    here.control("off", "one");
    assert_eq!(there.request(&one, &[1]).no().reasons[0].why, "off");
    here.control("on", "one");
    there.request(&one, &[1]).go();
    here.control("off", "one/model");
    assert_eq!(there.request(&one, &[1]).no().reasons[0].why, "off");
    there.request(&one.clone().with("other", "account"), &[1]).go();
    here.control("on", "one/model");
    fail(&mut here, &one, 3);
    there.request(&one, &[1]).no();
    here.control("reset", "one");
    let lease = there.request(&one, &[1]).go();
    here.close(&lease, &End { hints: "rpm 3 -1 m 1 ".to_owned(), ..End::default() });
    let refusal = there.request(&one, &[1]).no();
    assert_eq!((&refusal.reasons[0].why[..], refusal.reasons[0].max), ("rpm", 3));
}

#[test]
fn a_reset_or_a_verdict_does_not_enable_a_disabled_provider() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    let open: Vec<Lease> = (0..3).map(|_| ledger.request(&one, &[1]).go()).collect();
    ledger.control("off", "one");
    for lease in &open {
        ledger.close(lease, &End::verdict("failed", "failed"));
    }
    ledger.control("reset", "one");
    assert_eq!(ledger.request(&one, &[1]).no().reasons[0].why, "off");
}

#[test]
fn a_cooldown_applies_to_its_scope_and_only_a_reset_shortens_it() {
    let mut ledger = TestLedger::new();
    let one = roomy("one");
    let sibling = Cand { key: "second".to_owned(), ..one.clone() };
    let model = one.clone().with("other", "account");
    let account = one.clone().with("model", "elsewhere");
    let cool_down = |ledger: &mut TestLedger, text: &str| {
        let lease = ledger.request(&one, &[1]).go();
        ledger.close(&lease, &End { cooldown: text.to_owned(), ..End::default() });
    };
    cool_down(&mut ledger, "k 600000 - 401");
    assert_eq!(ledger.request(&one, &[1]).no().reasons[0].why, "cooldown: 401");
    ledger.request(&sibling, &[1]).go();
    ledger.control("reset", "one");

    let late = ledger.request(&one, &[1]).go();
    cool_down(&mut ledger, "m 60000 - 429_rpm");
    for other in [&model, &account] {
        ledger.request(other, &[1]).go();
    }
    let refusal = ledger.request(&sibling, &[1]).no();
    assert_eq!((refusal.opens, refusal.exact), (START_MS + 60_000, true));
    ledger.pass(1_000);
    ledger.close(&late, &End { cooldown: "m 1000 - 429_rpm".to_owned(), ..End::verdict("good", "good") });
    assert_eq!(ledger.request(&sibling, &[1]).no().opens, START_MS + 60_000);
    ledger.control("reset", "one");

    cool_down(&mut ledger, "a 5000 - 429");
    ledger.request(&model, &[1]).no();
    ledger.request(&account, &[1]).go();
    ledger.pass(5_000);
    ledger.request(&model, &[1]).go();
}

#[test]
fn a_429_without_a_time_cools_down_until_the_window_opens_by_our_count() {
    let midnight = (START_MS / 86_400_000 + 1) * 86_400_000;
    let day = win("rpd", 'c', 1_000).in_zone("UTC");
    for (w, opens) in
        [(day, midnight + 2_000), (win("rpd", 'b', 1_000), START_MS + 86_400), (win("rpm", 's', 30), START_MS + 60_000)]
    {
        let mut ledger = TestLedger::new();
        let one = cand("one", std::slice::from_ref(&w));
        let lease = ledger.request(&one, &[1]).go();
        ledger.close(&lease, &End { cooldown: format!("m 0 {} 429_x", w.limit), ..End::default() });
        assert_eq!(ledger.request(&one, &[1]).no().opens, opens, "{w:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Ask,
    End(usize, &'static str, &'static str),
    Commit(usize),
    Die(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..20_usize;
    let word = prop_oneof![Just("good"), Just("failed"), Just("failed"), Just("nothing")];
    prop_oneof![
        3 => prop_oneof![0..2_000_i64, 0..40_000_i64, Just(OPEN)].prop_map(Step::Pass),
        6 => Just(Step::Ask),
        6 => (which.clone(), word.clone(), word).prop_map(|(i, p, m)| Step::End(i, p, m)),
        1 => which.clone().prop_map(Step::Commit),
        2 => which.prop_map(Step::Die),
        1 => prop_oneof![9 => Just(Step::Ask), 1 => Just(Step::Reset)],
    ]
}

proptest! {
    #![proptest_config(cases(500))]

    /// A provider's and a model's breaker, and leases that end in any order or never: at most one probe of each breaker is
    /// in flight, and a request that waits until the named instant is admitted.
    #[test]
    fn there_are_never_two_probes_at_once_and_no_breaker_is_ever_stuck(steps in vec(step(), 1..120)) {
        let mut ledger = TestLedger::new();
        let one = roomy("one");
        let mut open: Vec<Lease> = Vec::new();
        // Instant until which a probe of each breaker can be in flight.
        let mut in_flight: [Option<(String, i64)>; 2] = [None, None];
        for step in steps {
            match step {
                Step::Pass(ms) => ledger.pass(ms),
                Step::Ask => if let Admit::Go(lease) = ledger.request(&one, &[1]) {
                    for (i, probe) in probes(&lease).into_iter().enumerate() {
                        if probe {
                            if let Some((id, until)) = &in_flight[i] {
                                prop_assert!(*until <= ledger.now(), "{id} is in flight until {until}");
                            }
                            in_flight[i] = Some((lease.id.clone(), ledger.now() + LEASE_TTL));
                        } else if let Some((_, until)) = &in_flight[i] {
                            prop_assert!(*until <= ledger.now(), "half-open, but not a probe: {lease:?}");
                        }
                    }
                    open.push(lease);
                },
                Step::End(i, p, m) if !open.is_empty() => {
                    let lease = open.remove(i % open.len());
                    ledger.settle(&lease, &End::verdict(p, m));
                    in_flight = in_flight.map(|probe| probe.filter(|(id, _)| *id != lease.id));
                }
                Step::Commit(i) if !open.is_empty() => {
                    let lease = &open[i % open.len()];
                    ledger.settle(lease, &End { mode: "commit", ..End::verdict("good", "good") });
                    in_flight = in_flight.map(|probe| probe.filter(|(id, _)| *id != lease.id));
                }
                Step::Die(i) if !open.is_empty() => {
                    open.remove(i % open.len());
                }
                Step::Reset => {
                    ledger.control("reset", "one");
                    in_flight = [None, None];
                }
                _ => {}
            }
        }
        for _ in 0..4 {
            let Admit::No(refusal) = ledger.admit(&TestClient::default(), &[(&one, &[1])]) else { return Ok(()) };
            prop_assert!(refusal.opens <= ledger.now() + OPEN.max(LEASE_TTL), "{refusal:?}");
            ledger.at(refusal.opens);
        }
        prop_assert!(false, "stuck: {:?}", ledger.health());
    }
}
