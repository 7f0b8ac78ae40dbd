//! Guarantees 4 and 8: a monotonic clock, and no second budget after a flush, a restart or a lost reply.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use proptest::{collection::vec, prelude::*};

use super::{
    cases,
    engines::SteppedEmbedded,
    rig::{Admit, Cand, End, Lease, SLACK, START_MS, TestClient, TestLedger, Win, cand, win},
    world::{self, World},
};
use tollfree::ledger::engine::Reply;

const HOLD: i64 = 500;

/// Fills a window. Returns the leases.
fn fill(ledger: &mut TestLedger, on: &Cand) -> Vec<Lease> {
    let mut gone = Vec::new();
    loop {
        match ledger.request(on, &vec![1; on.windows.len()]) {
            Admit::Go(lease) => gone.push(lease),
            Admit::No(_) => return gone,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_new_pool_opens_immediately() {
    let mut first = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2)]);
    first.request(&one, &[1]).go();
    let mut second = first.another();
    assert_eq!(second.sync().hold, 0);
    assert_eq!(second.epoch, first.epoch);
    second.request(&one, &[1]).go();
    assert!(matches!(second.another().request(&one, &[1]), Admit::Lost), "without an epoch no request is admitted");
}

#[test]
fn a_settlement_between_a_loss_and_the_replay_loses_no_charge() {
    for (kind, mode) in [('s', "end"), ('b', "end"), ('s', "commit")] {
        let mut ledger = TestLedger::new();
        let one = cand("one", &[win("rpm", kind, 1)]);
        let lease = ledger.request(&one, &[1]).go();
        ledger.flush();
        let end = End { mode, ..End::default() };
        assert_eq!(ledger.settle(&lease, &end), Reply::Int(0));
        ledger.sync();
        assert_eq!(ledger.repeat(&[(&lease, (mode == "end").then_some(&end))]), 1, "{kind} {mode}");
        ledger.pass(HOLD);
        ledger.request(&one, &[1]).no();
    }
}

#[test]
fn a_flushed_pool_admits_nothing_until_every_replica_has_replayed_its_leases() {
    for kind in ['s', 'm', 'b'] {
        let mut here = TestLedger::new();
        let mut there = here.another();
        there.sync();
        let one = cand("one", &[win(if kind == 'm' { "tpm" } else { "rpm" }, kind, 30)]);
        let mine: Vec<Lease> = (0..10).map(|_| here.request(&one, &[1]).go()).collect();
        here.pass(1_000);
        let others: Vec<Lease> = (0..15).map(|_| there.request(&one, &[1]).go()).collect();
        let end = End::default();
        there.close(&others[0], &end);
        here.flush();

        assert!(matches!(here.request(&one, &[1]), Admit::Lost));
        let synced = here.sync();
        assert_eq!((synced.hold, synced.since), (HOLD, here.now() - 60_000 - SLACK));
        here.repeat(&mine.iter().map(|lease| (lease, None)).collect::<Vec<_>>());
        assert!(matches!(here.request(&one, &[1]), Admit::Hold(HOLD)));
        here.pass(HOLD - 1);
        assert!(matches!(there.request(&one, &[1]), Admit::Lost));
        assert_eq!(there.sync().hold, 1);
        let again: Vec<_> = others.iter().enumerate().map(|(i, lease)| (lease, (i == 0).then_some(&end))).collect();
        assert_eq!(there.repeat(&again), 15);
        assert_eq!(there.repeat(&again), 0, "known leases are skipped");
        assert!(matches!(there.request(&one, &[1]), Admit::Hold(1)));
        here.pass(1);
        assert_eq!(fill(&mut here, &one).len(), 5, "{kind}");
        // A replayed lease can be settled and keeps its lifetime.
        there.close(&others[1], &End::default());
        assert_eq!(there.settle(&others[0], &End::default()), Reply::Int(0));
    }
}

#[test]
fn a_new_replica_on_a_flushed_pool_is_held_when_an_older_one_syncs() {
    let mut knew = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30)]);
    let leases = fill(&mut knew, &one);
    knew.flush();
    let mut new = knew.another();
    assert_eq!(new.sync().hold, 0);
    assert_eq!(knew.sync().hold, HOLD);
    knew.repeat(&leases.iter().map(|lease| (lease, None)).collect::<Vec<_>>());
    assert!(matches!(new.request(&one, &[1]), Admit::Hold(HOLD)));
    knew.pass(HOLD);
    new.request(&one, &[1]).no();
}

#[test]
fn a_restart_that_lost_a_second_is_detected_and_repaired() {
    let mut here = TestLedger::new();
    let mut there = here.another();
    there.sync();
    let one = cand("one", &[win("rpm", 's', 600)]);
    let old: Vec<Lease> = (0..100).map(|_| here.request(&one, &[1]).go()).collect();
    there.request(&one, &[1]).go();
    let copy = here.copy_state();
    here.pass(1_000);
    let forgotten = fill(&mut here, &one);
    assert_eq!(forgotten.len(), 499);
    here.restore(&copy);
    // The epoch is unchanged; only the lower sequence number shows the loss.
    assert!(matches!(here.request(&one, &[1]), Admit::Lost));
    let synced = here.sync();
    assert_eq!((synced.hold, synced.since), (HOLD, here.now() - 3_000));
    let all: Vec<_> = old.iter().chain(&forgotten).map(|lease| (lease, None)).collect();
    assert_eq!(here.repeat(&all), 499);
    assert!(matches!(there.request(&one, &[1]), Admit::Lost));
    assert_eq!(there.sync().since, there.now() - 3_000);
    here.pass(HOLD);
    there.request(&one, &[1]).no();
    // The first sub-bucket, of 60,000/128 ms, expires; the replayed charges stay.
    here.at(START_MS + 60_250 + 469);
    assert_eq!(fill(&mut there, &one).len(), 101);
}

#[test]
fn a_restart_that_lost_nothing_of_ours_is_detected_by_its_run_id() {
    let mut here = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 3)]);
    here.request(&one, &[1]).go();
    let copy = here.copy_state();
    here.restore(&copy);
    let before = here.epoch.clone();
    assert_eq!(here.sync().hold, HOLD);
    assert_ne!(here.epoch, before);
    here.pass(HOLD);
    assert_eq!(fill(&mut here, &one).len(), 2);
}

#[test]
fn a_repeated_request_after_a_lost_reply_charges_nothing() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2), win("concurrency", 'n', 2)]);
    let ask: [(&_, &[i64]); 1] = [(&one, &[1, 1])];
    let id = ledger.fresh_id();
    let lease = ledger.admit_as(&id, &TestClient::default(), &ask).go();
    let before = ledger.charges();
    let again = ledger.admit_as(&id, &TestClient::default(), &ask).go();
    assert_eq!((again.packed, ledger.charges()), (lease.packed.clone(), before));
    ledger.request(&one, &[1, 1]).go();
    // This holds even if the window is full by now.
    assert_eq!(ledger.admit_as(&id, &TestClient::default(), &ask).go().packed, lease.packed);
}

#[test]
fn an_admission_cancelled_before_its_arrival_is_never_granted() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 2)]);
    let id = ledger.fresh_id();
    let never = Lease { id: id.clone(), ..ledger.request(&one, &[1]).go() };
    assert_eq!(ledger.settle(&never, &End { mode: "find", ..End::not_sent() }), Reply::Int(0));
    let before = ledger.charges();
    assert!(matches!(ledger.admit_as(&id, &TestClient::default(), &[(&one, &[1])]), Admit::Cancelled));
    assert_eq!(ledger.charges(), before);
}

#[test]
fn a_lease_settled_twice_is_corrected_once() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    let lease = ledger.request(&one, &[50]).go();
    ledger.close(&lease, &End::used(&[10]));
    let before = ledger.charges();
    assert_eq!(ledger.settle(&lease, &End::used(&[0])), Reply::Int(0));
    assert!(!ledger.renew(&mut lease.clone()));
    assert_eq!(ledger.charges(), before);
}

#[test]
fn a_reply_debited_at_its_end_is_replayed_at_its_end() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 'm', 100)]);
    let mut lease = ledger.request(&one, &[80]).go();
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
    ledger.request(&one, &[80]).no();
}

#[test]
fn a_clock_step_back_frees_nothing_and_extends_no_wait() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 3), win("rpd", 'b', 5)]);
    ledger.pass(3_600_000);
    let instant = ledger.now();
    assert_eq!(fill(&mut ledger, &one).len(), 3);
    ledger.at(instant - 600_000);
    let refusal = ledger.request(&one, &[1, 1]).no();
    assert_eq!((refusal.now, refusal.opens), (instant, instant + 60_251));
    let lease = ledger.request(&cand("two", &[win("rpm", 's', 1)]), &[1]).go();
    assert_eq!(lease.granted_ms, instant, "the ledger's clock stands still until TIME has caught up");
    ledger.at(refusal.opens);
    ledger.request(&one, &[1, 1]).go();
}

#[test]
fn a_window_first_used_while_time_stands_still_lives_by_the_true_time() {
    for kind in ['s', 'b'] {
        // After an action at START, TIME and the expiry of keys step back by ten minutes.
        let host = Arc::new(AtomicI64::new((START_MS - 600_000) * 1000));
        let mut ledger = TestLedger::on(Box::new(SteppedEmbedded::beside(&host)));
        let one = cand("one", &[win("rpm", kind, 30)]);
        let at = |ledger: &TestLedger, ms: i64| {
            ledger.at(START_MS - 600_000 + ms);
            host.store(ledger.now_us(), Ordering::Relaxed);
        };
        ledger.request(&cand("two", &[win("rpm", 's', 1)]), &[1]).go();
        at(&ledger, 0);
        ledger.request(&one, &[1]).go();
        at(&ledger, 90_000);
        // By then the bucket's content has drained, although its key still exists.
        assert_eq!(fill(&mut ledger, &one).len(), if kind == 's' { 29 } else { 30 });
        for after in 1..60 {
            at(&ledger, 90_000 + after * 1_000);
            assert_eq!(fill(&mut ledger, &one).len(), 0, "{kind}: {after} s after it was filled");
        }
    }
}

/// The provider's clock continues while TIME steps back by `back_ms`.
fn steps_back(w: &Win, back_ms: i64, requests: &[(i64, i64)]) {
    let mut world = World::new(&[cand("one", std::slice::from_ref(w))], 1);
    let mut real_us = world.ledger.now_us();
    for (i, (pass, n)) in requests.iter().enumerate() {
        real_us += pass * 1000;
        let behind = if i > 0 { back_ms } else { 0 };
        world.ledger.set_us(real_us - behind * 1000);
        for _ in 0..*n {
            let cand = world.cands[0].clone();
            if let Admit::Go(lease) = world.ledger.request(&cand, &[1]) {
                let late = world.dice.roll(0, SLACK * 1000);
                world.note(lease, real_us + late);
            }
        }
    }
    for (key, (w, counts)) in world.counts() {
        world::assert_within_limits(&key, &w, &counts);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// A failover to a server whose clock is behind.
    #[test]
    fn a_clock_that_steps_back_exceeds_no_window(
        bucket in any::<bool>(),
        max in 1..40_i64,
        back_ms in 0..900_000_i64,
        requests in vec((0..70_000_i64, 0..30_i64), 1..40),
    ) {
        steps_back(&win("rpm", if bucket { 'b' } else { 's' }, max), back_ms, &requests);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Burst(usize, i64, i64),
    Settle(usize, i64),
    TakeBack(usize),
    Flush,
    /// Restarts with a state that is up to a second old.
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

/// Two replicas that follow the protocol while the state is lost.
fn lose(w: &Win, steps: &[Step]) {
    let mut world = World::new(&[cand("one", std::slice::from_ref(w))], 3);
    let cand = world.cands[0].clone();
    let mut other = world.ledger.another();
    other.sync();
    let mut replicas = [TestLedger::another(&world.ledger), other];
    replicas[0].sync();
    let mut owner: Vec<usize> = Vec::new();
    let mut ends: Vec<Option<End>> = Vec::new();
    let mut copies: Vec<(i64, super::rig::StateCopy)> = Vec::new();
    for step in steps {
        let open = world.open_calls();
        match step {
            Step::Pass(ms) => {
                world.pass_us(ms * 1000);
                copies.push((world.ledger.now(), world.ledger.copy_state()));
            }
            Step::Burst(r, n, percent) => {
                for _ in 0..*n {
                    match replicas[*r].request(&cand, &[(w.max * percent / 100).max(1)]) {
                        Admit::Go(lease) => {
                            let arrived = world.ledger.now_us() + world.dice.roll(0, SLACK * 1000 + 1);
                            world.note(lease, arrived);
                            owner.push(*r);
                            ends.push(None);
                        }
                        Admit::No(_) | Admit::Hold(_) => break,
                        Admit::Lost => {
                            let synced = replicas[*r].sync();
                            let again: Vec<(&Lease, Option<&End>)> = (0..world.calls.len())
                                .filter(|i| owner[*i] == *r)
                                .filter(|i| world.calls[*i].open || world.calls[*i].lease.granted_ms >= synced.since)
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
                copies.clear();
                both_detect(&mut replicas, &world, &owner, &ends);
            }
            Step::Restart => {
                let since = world.ledger.now() - 1_000;
                if let Some((_, copy)) = copies.iter().find(|(at, _)| *at >= since) {
                    world.ledger.restore(copy);
                    copies.clear();
                    both_detect(&mut replicas, &world, &owner, &ends);
                }
            }
            _ => {}
        }
    }
    world.assert_within_limits();
}

#[test]
fn a_charge_of_a_lost_bucket_is_not_refunded_from_the_next_one() {
    use Step::{Burst, Flush, Pass, Settle, TakeBack};
    let steps = [
        Burst(0, 5, 15),
        TakeBack(0),
        Burst(0, 1, 8),
        Flush,
        Pass(60_250),
        Burst(0, 6, 15),
        Settle(15, 0),
        Burst(0, 1, 15),
    ];
    lose(&win("tpm", 'b', 27), &steps);
}

/// Both replicas detect the loss, as their regular `sync` does.
fn both_detect(replicas: &mut [TestLedger; 2], world: &World, owner: &[usize], ends: &[Option<End>]) {
    for (r, replica) in replicas.iter_mut().enumerate() {
        let synced = replica.sync();
        let again: Vec<(&Lease, Option<&End>)> = (0..world.calls.len())
            .filter(|i| owner[*i] == r && (world.calls[*i].open || world.calls[*i].lease.granted_ms >= synced.since))
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
    fn a_lost_state_never_exceeds_a_sliding_minute(max in 1..60_i64, steps in vec(step(), 1..50)) {
        lose(&win("rpm", 's', max), &steps);
    }

    #[test]
    fn a_lost_state_never_exceeds_a_corrected_sliding_minute(max in 1..9_000_i64, steps in vec(step(), 1..50)) {
        lose(&win("tpm", 's', max), &steps);
    }

    #[test]
    fn a_lost_state_never_exceeds_a_bucket_of_a_minute(max in 1..60_i64, steps in vec(step(), 1..50)) {
        lose(&win("rpm", 'b', max), &steps);
    }

    #[test]
    fn a_lost_state_never_exceeds_a_bucket_of_tokens(max in 1..9_000_i64, steps in vec(step(), 1..50)) {
        lose(&win("tpm", 'b', max), &steps);
    }
}
