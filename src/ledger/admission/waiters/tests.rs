//! Groups, notifications and rechecks of waiting requests.

use super::*;
use crate::{
    domain::{Candidate, Charge, client::ClientKind},
    plan::test_support::candidate,
};

fn waiting(id: &str, candidate: &Arc<Candidate>) -> Arc<Waiting> {
    let choice = Choice { candidate: candidate.clone(), charge: Charge::default() };
    Arc::new(Waiting {
        id: id.into(),
        client: Client::new("ann", ClientKind::Registered, []),
        choices: vec![choice],
        tier: Tier::Standard,
        deadline: after(60_000),
        place: Mutex::default(),
    })
}

fn after(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn ids(batches: &[Batch]) -> Vec<Vec<&str>> {
    batches.iter().map(|batch| batch.requests.iter().map(|request| &*request.id).collect()).collect()
}

fn replied() -> Replied {
    Replied { reply: Ok(Reply::Nil), epoch: "e".into(), sent: Instant::now() }
}

#[tokio::test(start_paused = true)]
async fn a_group_has_one_call_in_flight_and_more_follow_while_all_are_admitted() {
    let (waiters, lab, other) = (Arc::new(Waiters::default()), candidate("lab/m").build(), candidate("b/m").build());
    let turns: Vec<_> = (0..6_u64)
        .map(|n| waiters.wait(&waiting(&format!("r{n}"), &lab), after(if n == 0 { 0 } else { 1_000 * n }), 0))
        .collect();
    let _of_other = waiters.wait(&waiting("r9", &other), after(0), 0);
    let mut batches = waiters.take_due(after(0));
    batches.sort_by_key(|batch| batch.requests[0].id.clone());
    assert_eq!(ids(&batches), [["r0"], ["r9"]]);
    assert!(waiters.take_due(after(9_000)).is_empty(), "both calls are in flight");
    let mut first = batches.remove(0);
    first.replied("r0", replied(), true);
    drop(first);
    let mut next = waiters.take_due(after(0));
    assert_eq!(ids(&next), [["r1", "r2"]], "twice as many, though none is due");
    let mut next = next.remove(0);
    next.replied("r1", replied(), true);
    next.waits("r2", after(500));
    drop(next);
    assert!(waiters.take_due(after(0)).is_empty(), "the last one was not admitted");
    let mut due = Vec::new();
    let began = Instant::now();
    while due.is_empty() {
        waiters.until_due().await;
        due = waiters.take_due(Instant::now());
    }
    assert_eq!((ids(&due), began.elapsed().as_millis() / 10), (vec![vec!["r2"]], 50));
    assert!(turns.into_iter().take(2).all(|mut turn| matches!(turn.try_recv(), Ok(Turn::Replied(_)))));
}

#[tokio::test(start_paused = true)]
async fn whose_call_brings_no_reply_asks_by_itself_and_whose_caller_left_is_known_to_be_in_flight() {
    let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
    let (stays, leaves) = (waiting("r1", &lab), waiting("r2", &lab));
    let mut turn = waiters.wait(&stays, after(0), 0);
    drop(waiters.wait(&leaves, after(0), 0));
    let batches = waiters.take_due(after(0));
    assert_eq!(batches[0].requests.len(), 2);
    assert!(waiters.remove("r2") && !waiters.remove("r2"));
    waiters.wake_all();
    assert!(turn.try_recv().is_err(), "its reply is still expected");
    drop(batches);
    assert!(matches!(turn.try_recv(), Ok(Turn::Woken)));
    assert_eq!(waiters.tickets(), std::slice::from_ref(&stays.id), "the heartbeat keeps its ticket");
    assert!(!waiters.remove("r1") && waiters.state.lock().groups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_ticket_of_each_client_is_rechecked() {
    let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
    let of = |id: &str, client: &str| {
        let mut request = Arc::into_inner(waiting(id, &lab)).unwrap();
        request.client = Client::new(client, ClientKind::Registered, []);
        Arc::new(request)
    };
    let requests = [of("r1", "ann"), of("r2", "ann"), of("r3", "bob")];
    let _turns = requests.each_ref().map(|request| waiters.wait(request, after(30_000), 0));
    assert!(waiters.take_due(after(0)).is_empty());
    waiters.recheck();
    assert_eq!(ids(&waiters.take_due(after(0))), [["r1", "r3"]]);
}

#[tokio::test(start_paused = true)]
async fn notifications_bring_tickets_forward_whenever_they_come() {
    let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
    let due = |waiters: &Arc<Waiters>| ids(&waiters.take_due(after(0))).concat().join(" ");
    waiters.notify("r1 0", "r", 0);
    let _early = waiters.wait(&waiting("r1", &lab), after(5_000), 0);
    assert_eq!(due(&waiters), "r1", "notified just before its request waits");
    let request = waiting("r2", &lab);
    let _turn = waiters.wait(&request, after(5_000), 0);
    assert_eq!(due(&waiters), "");
    waiters.notify("p:other 0", "r", 0);
    waiters.notify("elsewhere 0", "r", 0);
    assert_eq!(due(&waiters), "");
    waiters.notify("p:lab 0", "r", 0);
    let mut batch = waiters.take_due(after(0)).remove(0);
    waiters.notify("r2 0", "r", 0);
    batch.waits("r2", after(5_000));
    drop(batch);
    assert_eq!(due(&waiters), "r2", "notified while its call was in flight");
}
