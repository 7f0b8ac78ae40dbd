//! Guarantees 4 and 8: one clock that never goes back, and no false plenty after a flush, a restart, a lost reply.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    engines::SteppedEmbedded,
    rig::{Admit, Asker, Cand, End, Lease, SLACK, START_MS, TestLedger, Win, cand, win},
    world::{self, World},
};
use tollfree::ledger::engine::Reply;

const HOLD: i64 = 500;

/// Fills a window; how many went.
fn fill(ledger: &mut TestLedger, on: &Cand) -> Vec<Lease> {
    let mut gone = Vec::new();
    loop {
        match ledger.ask(on, &vec![1; on.windows.len()]) {
            Admit::Go(lease) => gone.push(lease),
            Admit::No(_) => return gone,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pool_that_nobody_has_known_opens_at_once() {
    let mut first = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2)]);
    first.ask(&one, &[1]).go();
    let mut second = first.another();
    assert_eq!(second.sync().hold, 0);
    assert_eq!(second.epoch, first.epoch);
    second.ask(&one, &[1]).go();
    assert!(matches!(second.another().ask(&one, &[1]), Admit::Lost), "without an epoch nobody is admitted");
}

#[test]
fn an_end_that_comes_between_the_loss_and_its_repetition_loses_no_charge() {
    for (kind, mode) in [('s', "end"), ('b', "end"), ('s', "commit")] {
        let mut ledger = TestLedger::new();
        let one = cand("one", &[win("rpm", kind, 1)]);
        let lease = ledger.ask(&one, &[1]).go();
        ledger.flush();
        let end = End { mode, ..End::default() };
        assert_eq!(ledger.settle(&lease, &end), Reply::Int(0));
        ledger.sync();
        assert_eq!(ledger.repeat(&[(&lease, (mode == "end").then_some(&end))]), 1, "{kind} {mode}");
        ledger.pass(HOLD);
        ledger.ask(&one, &[1]).no();
    }
}

#[test]
fn a_flushed_pool_admits_nobody_until_every_replica_has_said_what_it_knew() {
    for kind in ['s', 'm', 'b'] {
        let mut here = TestLedger::new();
        let mut there = here.another();
        there.sync();
        let one = cand("one", &[win(if kind == 'm' { "tpm" } else { "rpm" }, kind, 30)]);
        let mine: Vec<Lease> = (0..10).map(|_| here.ask(&one, &[1]).go()).collect();
        here.pass(1_000);
        let others: Vec<Lease> = (0..15).map(|_| there.ask(&one, &[1]).go()).collect();
        let end = End::default();
        there.close(&others[0], &end);
        here.flush();

        assert!(matches!(here.ask(&one, &[1]), Admit::Lost));
        let told = here.sync();
        assert_eq!((told.hold, told.since), (HOLD, here.now() - 60_000 - SLACK));
        here.repeat(&mine.iter().map(|lease| (lease, None)).collect::<Vec<_>>());
        assert!(matches!(here.ask(&one, &[1]), Admit::Hold(HOLD)));
        here.pass(HOLD - 1);
        assert!(matches!(there.ask(&one, &[1]), Admit::Lost));
        assert_eq!(there.sync().hold, 1);
        let again: Vec<_> = others.iter().enumerate().map(|(i, lease)| (lease, (i == 0).then_some(&end))).collect();
        assert_eq!(there.repeat(&again), 15);
        assert_eq!(there.repeat(&again), 0, "what is known is passed over");
        assert!(matches!(there.ask(&one, &[1]), Admit::Hold(1)));
        here.pass(1);
        assert_eq!(fill(&mut here, &one).len(), 5, "{kind}");
        // What was repeated can be settled, and lives as long as it would have.
        there.close(&others[1], &End::default());
        assert_eq!(there.settle(&others[0], &End::default()), Reply::Int(0));
    }
}

#[test]
fn a_newcomer_that_opened_a_flushed_pool_is_held_when_one_who_knew_it_comes() {
    let mut knew = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30)]);
    let leases = fill(&mut knew, &one);
    knew.flush();
    let mut new = knew.another();
    assert_eq!(new.sync().hold, 0);
    assert_eq!(knew.sync().hold, HOLD);
    knew.repeat(&leases.iter().map(|lease| (lease, None)).collect::<Vec<_>>());
    assert!(matches!(new.ask(&one, &[1]), Admit::Hold(HOLD)));
    knew.pass(HOLD);
    new.ask(&one, &[1]).no();
}

#[test]
fn a_restart_that_forgot_a_second_is_noticed_and_made_good() {
    let mut here = TestLedger::new();
    let mut there = here.another();
    there.sync();
    let one = cand("one", &[win("rpm", 's', 600)]);
    let old: Vec<Lease> = (0..100).map(|_| here.ask(&one, &[1]).go()).collect();
    there.ask(&one, &[1]).go();
    let photograph = here.photograph();
    here.pass(1_000);
    let forgotten = fill(&mut here, &one);
    assert_eq!(forgotten.len(), 499);
    here.back_to(&photograph);
    // The epoch is the one it knew; that the sequence went back tells it.
    assert!(matches!(here.ask(&one, &[1]), Admit::Lost));
    let told = here.sync();
    assert_eq!((told.hold, told.since), (HOLD, here.now() - 3_000));
    let all: Vec<_> = old.iter().chain(&forgotten).map(|lease| (lease, None)).collect();
    assert_eq!(here.repeat(&all), 499);
    assert!(matches!(there.ask(&one, &[1]), Admit::Lost));
    assert_eq!(there.sync().since, there.now() - 3_000);
    here.pass(HOLD);
    there.ask(&one, &[1]).no();
    // The first sub-bucket, of 60,000/128 ms, leaves; what was said again stays.
    here.at(START_MS + 60_250 + 469);
    assert_eq!(fill(&mut there, &one).len(), 101);
}

#[test]
fn a_restart_that_forgot_nothing_of_ours_is_told_by_its_run_id() {
    let mut here = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 3)]);
    here.ask(&one, &[1]).go();
    let photograph = here.photograph();
    here.back_to(&photograph);
    let before = here.epoch.clone();
    assert_eq!(here.sync().hold, HOLD);
    assert_ne!(here.epoch, before);
    here.pass(HOLD);
    assert_eq!(fill(&mut here, &one).len(), 2);
}

#[test]
fn a_lost_reply_is_asked_for_again_and_charges_nothing() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2), win("concurrency", 'n', 2)]);
    let ask: [(&_, &[i64]); 1] = [(&one, &[1, 1])];
    let id = ledger.fresh_id();
    let lease = ledger.admit_as(&id, &Asker::default(), &ask).go();
    let before = ledger.charges();
    let again = ledger.admit_as(&id, &Asker::default(), &ask).go();
    assert_eq!((again.packed, ledger.charges()), (lease.packed.clone(), before));
    ledger.ask(&one, &[1, 1]).go();
    // Also when the window is full by now.
    assert_eq!(ledger.admit_as(&id, &Asker::default(), &ask).go().packed, lease.packed);
}

#[test]
fn an_admission_cancelled_before_it_arrives_is_never_made() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2)]);
    let id = ledger.fresh_id();
    let never = Lease { id: id.clone(), ..ledger.ask(&one, &[1]).go() };
    assert_eq!(ledger.settle(&never, &End { mode: "find", ..End::not_sent() }), Reply::Int(0));
    let before = ledger.charges();
    assert!(matches!(ledger.admit_as(&id, &Asker::default(), &[(&one, &[1])]), Admit::Cancelled));
    assert_eq!(ledger.charges(), before);
}

#[test]
fn a_lease_settled_twice_is_corrected_once() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    let lease = ledger.ask(&one, &[50]).go();
    ledger.close(&lease, &End::used(&[10]));
    let before = ledger.charges();
    assert_eq!(ledger.settle(&lease, &End::used(&[0])), Reply::Int(0));
    assert!(!ledger.renew(&mut lease.clone()));
    assert_eq!(ledger.charges(), before);
}

#[test]
fn an_answer_debited_at_its_end_is_repeated_as_of_its_end() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 'm', 100)]);
    let mut lease = ledger.ask(&one, &[80]).go();
    for _ in 0..4 {
        ledger.pass(10_000);
        assert!(ledger.renew(&mut lease));
    }
    ledger.pass(9_000);
    let ended = ledger.now();
    let end = End::used(&[80]);
    ledger.close(&lease, &end);
    ledger.pass(1_000);
    ledger.flush();
    ledger.sync();
    ledger.repeat(&[(&lease, Some(&end))]);
    ledger.at(ended + 60_000);
    ledger.ask(&one, &[80]).no();
}

#[test]
fn time_that_goes_back_frees_nothing_and_makes_nobody_wait_twice() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 3), win("rpd", 'b', 5)]);
    ledger.pass(3_600_000);
    let instant = ledger.now();
    assert_eq!(fill(&mut ledger, &one).len(), 3);
    ledger.at(instant - 600_000);
    let refusal = ledger.ask(&one, &[1, 1]).no();
    assert_eq!((refusal.now, refusal.opens), (instant, instant + 60_251));
    let lease = ledger.ask(&cand("two", &[win("rpm", 's', 1)]), &[1]).go();
    assert_eq!(lease.granted_ms, instant, "the ledger's clock stands still until TIME has caught up");
    ledger.at(refusal.opens);
    ledger.ask(&one, &[1, 1]).go();
}

#[test]
fn a_window_first_used_while_time_stands_still_lives_by_the_true_time() {
    for kind in ['s', 'b'] {
        // The ledger has acted at START; then TIME, and with it the lives of keys, steps back by ten minutes.
        let host = Arc::new(AtomicI64::new((START_MS - 600_000) * 1000));
        let mut ledger = TestLedger::on(Box::new(SteppedEmbedded::beside(&host)));
        let one = cand("one", &[win("rpm", kind, 30)]);
        let at = |ledger: &TestLedger, ms: i64| {
            ledger.at(START_MS - 600_000 + ms);
            host.store(ledger.now_us(), Ordering::Relaxed);
        };
        ledger.ask(&cand("two", &[win("rpm", 's', 1)]), &[1]).go();
        at(&ledger, 0);
        ledger.ask(&one, &[1]).go();
        at(&ledger, 90_000);
        // By then the bucket's key had outlived what it held.
        assert_eq!(fill(&mut ledger, &one).len(), if kind == 's' { 29 } else { 30 });
        for after in 1..60 {
            at(&ledger, 90_000 + after * 1_000);
            assert_eq!(fill(&mut ledger, &one).len(), 0, "{kind}: {after} s after it was filled");
        }
    }
}

/// A provider's true time goes on while TIME has stepped back by `back_ms`.
fn steps_back(w: &Win, back_ms: i64, asks: &[(i64, i64)]) {
    let mut world = World::new(&[cand("one", std::slice::from_ref(w))], 1);
    let mut real_us = world.ledger.now_us();
    for (i, (pass, n)) in asks.iter().enumerate() {
        real_us += pass * 1000;
        let behind = if i > 0 { back_ms } else { 0 };
        world.ledger.set_us(real_us - behind * 1000);
        for _ in 0..*n {
            let cand = world.cands[0].clone();
            if let Admit::Go(lease) = world.ledger.ask(&cand, &[1]) {
                let late = world.dice.roll(0, SLACK * 1000);
                world.note(lease, real_us + late);
            }
        }
    }
    for (key, (w, counts)) in world.counts() {
        world::judge(&key, &w, &counts);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// A failover to a server whose clock is behind.
    #[test]
    fn a_clock_that_steps_back_brings_no_window_over(
        bucket in any::<bool>(),
        max in 1..40_i64,
        back_ms in 0..900_000_i64,
        asks in vec((0..70_000_i64, 0..30_i64), 1..40),
    ) {
        steps_back(&win("rpm", if bucket { 'b' } else { 's' }, max), back_ms, &asks);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Burst(usize, i64, i64),
    Settle(usize, i64),
    TakeBack(usize),
    Flush,
    /// Forgets what has happened in the last steps, a second at most.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![0..900_i64, 0..20_000_i64, Just(60_250)].prop_map(Step::Pass),
        8 => (0..2_usize, 1..20_i64, 1..40_i64).prop_map(|(r, n, percent)| Step::Burst(r, n, percent)),
        4 => (0..50_usize, 0..100_i64).prop_map(|(i, percent)| Step::Settle(i, percent)),
        1 => (0..50_usize).prop_map(Step::TakeBack),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

/// Two replicas that keep to the protocol, and a state that is lost under them.
fn lose(w: &Win, steps: &[Step]) {
    let mut world = World::new(&[cand("one", std::slice::from_ref(w))], 3);
    let cand = world.cands[0].clone();
    let mut other = world.ledger.another();
    other.sync();
    let mut replicas = [TestLedger::another(&world.ledger), other];
    replicas[0].sync();
    let mut owner: Vec<usize> = Vec::new();
    let mut ends: Vec<Option<End>> = Vec::new();
    let mut photographs: Vec<(i64, super::rig::Photograph)> = Vec::new();
    for step in steps {
        let open = world.open_calls();
        match step {
            Step::Pass(ms) => {
                world.pass_us(ms * 1000);
                photographs.push((world.ledger.now(), world.ledger.photograph()));
            }
            Step::Burst(r, n, percent) => {
                for _ in 0..*n {
                    match replicas[*r].ask(&cand, &[(w.max * percent / 100).max(1)]) {
                        Admit::Go(lease) => {
                            let arrived = world.ledger.now_us() + world.dice.roll(0, SLACK * 1000 + 1);
                            world.note(lease, arrived);
                            owner.push(*r);
                            ends.push(None);
                        }
                        Admit::No(_) | Admit::Hold(_) => break,
                        Admit::Lost => {
                            let told = replicas[*r].sync();
                            let again: Vec<(&Lease, Option<&End>)> = (0..world.calls.len())
                                .filter(|i| owner[*i] == *r)
                                .filter(|i| world.calls[*i].open || world.calls[*i].lease.granted_ms >= told.since)
                                .map(|i| (&world.calls[i].lease, ends[i].as_ref()))
                                .collect();
                            for batch in again.chunks(40) {
                                replicas[*r].repeat(batch);
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            Step::Settle(i, percent) if !open.is_empty() => {
                let i = open[i % open.len()];
                let units = &world.calls[i].lease.units;
                let used: Vec<i64> =
                    units.iter().map(|u| if w.limit.as_str() == "rpm" { -1 } else { u * percent / 100 }).collect();
                let in_time = world.calls[i].arrived.unwrap() < world.ledger.now_us();
                world.settle(i, Some(used.clone()));
                ends[i] = Some(if in_time { End::used(&used) } else { End::default() });
            }
            Step::TakeBack(i) if !open.is_empty() => {
                let i = open[i % open.len()];
                world.take_back(i);
                ends[i] = Some(End::not_sent());
            }
            Step::Flush => {
                world.ledger.flush();
                photographs.clear();
                both_notice(&mut replicas, &world, &owner, &ends);
            }
            Step::Restart => {
                let since = world.ledger.now() - 1_000;
                if let Some((_, photograph)) = photographs.iter().find(|(at, _)| *at >= since) {
                    world.ledger.back_to(photograph);
                    photographs.clear();
                    both_notice(&mut replicas, &world, &owner, &ends);
                }
            }
            _ => {}
        }
    }
    world.judge();
}

/// As the watch of every replica does a few times a second.
fn both_notice(replicas: &mut [TestLedger; 2], world: &World, owner: &[usize], ends: &[Option<End>]) {
    for (r, replica) in replicas.iter_mut().enumerate() {
        let told = replica.sync();
        let again: Vec<(&Lease, Option<&End>)> = (0..world.calls.len())
            .filter(|i| owner[*i] == r && (world.calls[*i].open || world.calls[*i].lease.granted_ms >= told.since))
            .map(|i| (&world.calls[i].lease, ends[i].as_ref()))
            .collect();
        for batch in again.chunks(40) {
            replica.repeat(batch);
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_lost_state_never_brings_a_sliding_minute_over(max in 1..60_i64, steps in vec(step(), 1..50)) {
        lose(&win("rpm", 's', max), &steps);
    }

    #[test]
    fn a_lost_state_never_brings_a_corrected_sliding_minute_over(max in 1..9_000_i64, steps in vec(step(), 1..50)) {
        lose(&win("tpm", 's', max), &steps);
    }

    #[test]
    fn a_lost_state_never_brings_a_bucket_of_a_minute_over(max in 1..60_i64, steps in vec(step(), 1..50)) {
        lose(&win("rpm", 'b', max), &steps);
    }

    #[test]
    fn a_lost_state_never_brings_a_bucket_of_tokens_over(max in 1..9_000_i64, steps in vec(step(), 1..50)) {
        lose(&win("tpm", 'b', max), &steps);
    }
}
