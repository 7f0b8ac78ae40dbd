//! Tickets that were lost with the state of Redis get their places back, before anything is admitted.

use super::rig::{Admit, Cand, TestClient, TestLedger, WaitRequest, cand, win};

const WAIT_MS: i64 = 600_000;

fn wait(ledger: &mut TestLedger, id: &str, client: &TestClient, cand: &Cand, again: bool) {
    let reply = ledger.admit_queued(id, client, &[(cand, &[1, 100])], WaitRequest { wait_ms: WAIT_MS, again });
    assert!(matches!(reply, Admit::Wait(_)), "{reply:?}");
}

/// A full window, and 24 tickets of three clients, whose requests came to two replicas by turns.
fn crowd(cand: &Cand) -> ([TestLedger; 2], [Vec<(String, TestClient)>; 2]) {
    let mut first = TestLedger::new();
    let mut replicas = [first.another(), first.another()];
    for replica in &mut replicas {
        replica.sync();
    }
    while first.request(cand, &[1, 100]).is_go() {
        first.pass(100);
    }
    let clients = [
        TestClient::named("ann"),
        TestClient::named("bob").with_weight(3),
        TestClient { flex: true, ..TestClient::named("night") },
    ];
    let mut own = [Vec::new(), Vec::new()];
    for n in 0..24 {
        let (id, client) = (first.fresh_id(), &clients[n * n % 3]);
        wait(&mut replicas[n % 2], &id, client, cand, false);
        own[n % 2].push((id, client.clone()));
        first.pass(40);
    }
    (replicas, own)
}

#[test]
fn after_a_flush_the_queue_comes_back_in_its_order_over_all_replicas() {
    for kind in ['s', 'b'] {
        let cand = cand("groq", &[win("rpm", kind, 10), win("tpm", kind, 4_000).account_wide()]);
        let ([mut one, mut other], own) = crowd(&cand);
        let before = one.queued_tickets();
        assert_eq!(before.len(), 24);
        one.flush();
        assert!(one.sync().hold > 0);
        other.sync();
        // The replicas need not know of each other, and may be in any order.
        for (id, client) in own[1].iter().rev() {
            wait(&mut other, id, client, &cand, true);
        }
        for (id, client) in &own[0] {
            wait(&mut one, id, client, &cand, true);
        }
        assert_eq!(one.queued_tickets(), before);
        // Nobody was admitted meanwhile, and whoever comes now stands behind those of the same client.
        one.pass(600);
        let id = one.fresh_id();
        let reply =
            one.admit_queued(&id, &own[0][0].1, &[(&cand, &[1, 100])], WaitRequest { wait_ms: WAIT_MS, again: false });
        assert!(matches!(reply, Admit::Wait(_)), "there is room, but others were first: {reply:?}");
        let queued = one.queued_tickets();
        let position = |id: &String| queued.iter().position(|queued| queued == id).unwrap();
        let of_client = own.iter().flatten().filter(|(_, client)| client.id == own[0][0].1.id);
        assert!(of_client.clone().count() > 5 && of_client.into_iter().all(|(own, _)| position(own) < position(&id)));
    }
}

#[test]
fn a_ticket_that_is_still_there_waits_for_the_end_of_the_hold() {
    let cand = cand("groq", &[win("rpm", 's', 10), win("tpm", 's', 4_000)]);
    let ([mut one, mut other], own) = crowd(&cand);
    let before = one.queued_tickets();
    one.flush();
    one.sync();
    for (id, client) in &own[0] {
        wait(&mut one, id, client, &cand, true);
        wait(&mut one, id, client, &cand, true);
    }
    // Whoever has no place is not enqueued before the hold is over.
    let none =
        one.admit_queued("new", &own[0][0].1, &[(&cand, &[1, 100])], WaitRequest { wait_ms: WAIT_MS, again: true });
    assert!(matches!(none, Admit::Hold(_)), "{none:?}");
    other.sync();
    for (id, client) in &own[1] {
        wait(&mut other, id, client, &cand, true);
    }
    assert_eq!(one.queued_tickets(), before);
}

#[test]
fn whoever_has_no_time_left_waits_out_the_hold_without_a_place() {
    let cand = cand("groq", &[win("rpm", 's', 10), win("tpm", 's', 4_000)]);
    let ([mut one, _], own) = crowd(&cand);
    one.flush();
    let hold = one.sync().hold;
    let (id, client) = &own[0][0];
    let over = one.admit_queued(id, client, &[(&cand, &[1, 100])], WaitRequest { wait_ms: 0, again: true });
    assert!(matches!(over, Admit::Hold(ms) if ms == hold), "it would ask again at once: {over:?}");
    assert!(one.queued_tickets().is_empty());
}
