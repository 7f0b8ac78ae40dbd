//! The wait queue: first come, first served, without unused capacity and without overruns.

use proptest::prelude::*;

use super::{
    cases,
    queue::{Caller, QueueSimulation},
    rig::{Admit, Asking, Cand, End, TestClient, TestLedger, WaitRequest, cand, win},
};

const MINUTE: i64 = 60_000;
const SLACK: i64 = super::rig::SLACK;

fn one(kind: char, limit: &str, max: i64) -> Cand {
    cand("groq", &[win(limit, kind, max)])
}

fn caller(cand: &Cand, units: &[i64]) -> Caller {
    Caller::new(&TestClient::default(), &[(cand, units)])
}

/// Sixty simultaneous requests at thirty a minute: thirty are admitted, the others wait for a minute.
fn sixty(queue: &mut QueueSimulation, cand: &Cand) -> Vec<String> {
    (0..60).map(|n| queue.arrive(n, caller(cand, &[1]))).collect()
}

#[test]
fn sixty_simultaneous_requests_are_served_in_order_in_nearly_optimal_time() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    let start = queue.ledger.now();
    let ids = sixty(&mut queue, &cand);
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().map(|at| at.expect("every caller is served") - start).collect();
    assert!(went.is_sorted(), "overtaken: {went:?}");
    let perfect = MINUTE + SLACK + 60;
    assert!(
        *went.last().unwrap() <= perfect * 103 / 100,
        "the last one was admitted after {} ms",
        went.last().unwrap()
    );
    let attempts: u32 = ids.iter().map(|id| queue.callers[id].attempts).sum();
    // The first one also calls once a second, because its share may have grown.
    assert!(attempts <= 60 * 2 + 61, "{attempts} scripts for 60 callers");
    queue.assert_within_limits();
}

#[test]
fn a_bucket_admits_queued_requests_one_by_one() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
    let start = queue.ledger.now();
    let ids: Vec<String> = (0..60).map(|n| queue.arrive(n, caller(&cand, &[1]))).collect();
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().map(|at| at.expect("every caller is served") - start).collect();
    assert!(went.is_sorted(), "overtaken: {went:?}");
    // After the first thirty, one is admitted every two seconds.
    assert!(*went.last().unwrap() <= (30 * 2_000 + SLACK + 60) * 103 / 100, "{went:?}");
    queue.assert_within_limits();
}

#[test]
fn when_a_third_leaves_or_dies_the_others_move_up() {
    for dies in [false, true] {
        let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
        let start = queue.ledger.now();
        let ids: Vec<String> = (0..90).map(|n| queue.arrive(n, caller(&cand, &[1]).waiting(3 * MINUTE))).collect();
        queue.pass(20_000);
        // Every third of the waiting callers.
        let gone: Vec<&String> = ids[45..].iter().step_by(3).collect();
        let now = queue.ledger.now();
        for (n, id) in (0_i64..).zip(&gone) {
            let caller = queue.callers.get_mut(*id).unwrap();
            *(if dies { &mut caller.dies_ms } else { &mut caller.leaves_ms }) = Some(now + n * 37);
        }
        queue.pass_until_over(4 * MINUTE);
        let last =
            ids.iter().filter(|id| !gone.contains(id)).map(|id| queue.callers[id].went_ms.unwrap()).max().unwrap();
        // Of 75 callers 30 are admitted immediately and 45 at two seconds each. A missed heartbeat shows after three seconds.
        let perfect = 45 * 2_000 + SLACK;
        let most = if dies { perfect + 4_000 } else { perfect * 103 / 100 };
        assert!(last - start <= most, "the last one was admitted after {} ms, dies: {dies}", last - start);
        assert!(queue.ledger.queued_tickets().is_empty());
        queue.assert_within_limits();
    }
}

#[test]
fn lost_notifications_delay_callers_but_keep_their_order() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    queue.lose_notifications = true;
    let ids = sixty(&mut queue, &cand);
    for id in ids[40..].iter().step_by(4) {
        queue.callers.get_mut(id).unwrap().leaves_ms = Some(queue.ledger.now() + 5_000);
    }
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().flatten().collect();
    assert_eq!(went.len(), 55);
    assert!(went.is_sorted(), "overtaken: {went:?}");
    queue.assert_within_limits();
}

#[test]
fn a_request_with_two_candidates_is_admitted_when_either_has_room() {
    let mut queue = QueueSimulation::new();
    let busy = cand("one", &[win("tpm", 'b', 1_000)]);
    let other = cand("two", &[win("tpm", 's', 1_000)]);
    // Both are full, the second one with a reservation that its reply will not need.
    queue.arrive(0, Caller { life_ms: 60_000, ..caller(&busy, &[1_000]) });
    queue.arrive(0, Caller { life_ms: 3_000, used: Some(vec![10]), ..caller(&other, &[1_000]) });
    let id = queue.arrive(1, Caller::new(&TestClient::default(), &[(&busy, &[500]), (&other, &[500])]));
    let start = queue.ledger.now();
    queue.pass(2_900);
    assert_eq!(queue.callers[&id].went_ms, None);
    queue.pass(200);
    assert_eq!(queue.callers[&id].went_ms, Some(start + 3_000));
}

#[test]
fn a_slot_that_opens_early_is_used_immediately() {
    let mut queue = QueueSimulation::new();
    let cand = cand("zai", &[win("concurrency", 'n', 1)]);
    queue.arrive(0, Caller { life_ms: 3_000, used: Some(vec![-1]), ..caller(&cand, &[1]) });
    let id = queue.arrive(1, caller(&cand, &[1]).waiting(10_000));
    let start = queue.ledger.now();
    queue.pass(5_000);
    assert_eq!(queue.callers[&id].went_ms, Some(start + 3_000));
}

#[test]
fn a_huge_request_among_small_ones_is_served_or_refused_on_arrival() {
    for kind in ['b', 's'] {
        let (mut queue, cand) = (QueueSimulation::new(), cand("groq", &[win("tpm", kind, 8_000)]));
        // Small requests at two and a half times the capacity.
        for n in 0..600 {
            queue.arrive(n * 600, caller(&cand, &[200]).waiting(20_000));
        }
        queue.pass(90_000);
        let start = queue.ledger.now();
        let huge = queue.arrive(0, caller(&cand, &[7_500]).waiting(2 * MINUTE));
        let hasty = queue.arrive(0, caller(&cand, &[7_500]).waiting(1_000));
        queue.pass(150_000);
        let took = queue.callers[&huge].went_ms.map(|at| at - start);
        assert!(took.is_some_and(|ms| ms <= 80_000), "{kind}: {took:?}");
        let (at, _) = queue.callers[&hasty].refused.as_ref().expect("its wait limit is too short");
        assert_eq!(*at, start, "{kind}: refused on arrival");
        queue.assert_within_limits();
    }
}

#[test]
fn a_refusal_on_arrival_names_an_exact_time_with_others_in_the_queue() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    for n in 0..50 {
        queue.arrive(n, caller(&cand, &[1]));
    }
    queue.pass(100);
    let Admit::No(refusal) = queue.ledger.request(&cand, &[1]) else { panic!("the window is full") };
    queue.pass(refusal.opens - queue.ledger.now() - 2);
    assert!(!queue.ledger.request(&cand, &[1]).is_go(), "two ms too early");
    queue.pass(2);
    assert!(queue.ledger.request(&cand, &[1]).is_go(), "at the named instant");
}

#[test]
fn a_disabled_key_an_opened_breaker_and_a_lowered_limit_apply_to_waiting_requests() {
    // A key: its record has another version by now.
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 1));
    let record = "tf1:{judge}:m:ann".to_owned();
    queue.ledger.eval("return redis.call('HSET', KEYS[1], 'v', 7, 'off', 0, 'exp', 0)", &record);
    let ann = TestClient { version: 7, ..TestClient::named("ann") };
    let by_ann = || Caller::new(&ann, &[(&cand, &[1])]);
    queue.arrive(0, by_ann());
    let ids: Vec<String> = (1..5).map(|n| queue.arrive(n, by_ann().waiting(5 * MINUTE))).collect();
    queue.pass(1_000);
    assert_eq!(queue.ledger.queued_tickets().len(), 4);
    queue.ledger.eval("return redis.call('HSET', KEYS[1], 'v', 8, 'off', 1)", &record);
    queue.pass_until_over(6 * MINUTE);
    assert!(ids.iter().all(|id| queue.callers[id].client_changed && queue.callers[id].went_ms.is_none()));

    // A breaker: no request is admitted while it is open.
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 2));
    let failing = queue.ledger.request(&cand, &[1]).go();
    let ids: Vec<String> = (0..9).map(|n| queue.arrive(n, caller(&cand, &[1]).waiting(10 * MINUTE))).collect();
    queue.pass(100);
    queue.ledger.close(&failing, &End { rules: "1 2 90000", ..End::verdict("failed", "nothing") });
    let opened = queue.ledger.now();
    queue.pass(89_900);
    let after = |queue: &QueueSimulation| queue.went(&ids).into_iter().flatten().filter(|at| *at > opened).count();
    assert_eq!(after(&queue), 0);
    // Then one probe is admitted, and after its success the others follow.
    queue.pass(100);
    assert_eq!(after(&queue), 1);
    queue.pass_until_over(11 * MINUTE);
    assert!(after(&queue) >= 8, "{} were admitted", after(&queue));

    // A failed probe opens it again: whose wait ends before the next probe is refused at once, the others wait on.
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 100));
    let failing = queue.ledger.request(&cand, &[1]).go();
    queue.ledger.close(&failing, &End { rules: "1 2 30000", ..End::verdict("failed", "nothing") });
    queue.pass(30_000);
    let probe = queue.ledger.request(&cand, &[1]).go();
    let short: Vec<String> = (0..4).map(|n| queue.arrive(n, caller(&cand, &[1]).waiting(20_000))).collect();
    let long: Vec<String> = (0..4).map(|n| queue.arrive(n, caller(&cand, &[1]).waiting(2 * MINUTE))).collect();
    queue.pass(5_000);
    assert_eq!(queue.ledger.queued_tickets().len(), 8, "they wait for the probe");
    queue.ledger.close(&probe, &End { rules: "1 2 30000", ..End::verdict("failed", "nothing") });
    queue.pass(2_000);
    assert_eq!(queue.ledger.queued_tickets().len(), 4);
    assert!(queue.went(&short).iter().all(Option::is_none), "no probe is due within their wait");
    queue.pass_until_over(3 * MINUTE);
    assert!(queue.went(&long).iter().all(Option::is_some));

    // A limit that the provider's headers lower.
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    let first = queue.ledger.request(&cand, &[1]).go();
    let ids: Vec<String> = (0..59).map(|n| queue.arrive(n, caller(&cand, &[1]))).collect();
    queue.pass(100);
    queue.ledger.close(&first, &End { hints: "rpm 3 -1 m 1 ".into(), ..End::verdict("good", "good") });
    queue.pass(MINUTE + 10_000);
    let later = queue.went(&ids).into_iter().flatten().filter(|at| *at > queue.ledger.now() - 15_000).count();
    assert!(later <= 3, "{later} were admitted with a limit of 3");
}

#[test]
fn a_request_that_waits_for_its_clients_quota_blocks_no_other() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 3));
    let ann = TestClient::named("ann").with(&[win("rpm", 's', 1)]);
    for n in 0..2 {
        queue.arrive(n, Caller::new(&ann, &[(&cand, &[1])]));
    }
    queue.pass(10);
    assert_eq!(queue.ledger.queued_tickets().len(), 1);
    let others: Vec<String> = (0..2).map(|n| queue.arrive(n, caller(&cand, &[1]))).collect();
    queue.pass(10);
    assert!(queue.went(&others).iter().all(Option::is_some), "the second request of ann reserves no room");
    // A third request of ann queues behind the second.
    let Admit::No(refusal) = queue.ledger.admit(&ann, &[(&cand, &[1])]) else { panic!("the quota of ann is used up") };
    assert!(refusal.by_client);
    queue.pass_until_over(3 * MINUTE);
    assert!(queue.callers.values().all(|c| c.went_ms.is_some()));
    queue.assert_within_limits();
}

#[test]
fn an_empty_queue_leaves_no_state() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
    let ids = sixty(&mut queue, &cand);
    queue.pass_until_over(3 * MINUTE);
    assert!(queue.went(&ids).iter().all(Option::is_some));
    let left: Vec<String> = queue.ledger.queue_state().into_keys().filter(|key| !key.contains(":sh:")).collect();
    assert!(left.is_empty(), "{left:?}");
    queue.pass(10 * MINUTE);
    assert!(queue.ledger.present().iter().all(|key| !key.contains(":sh:")), "shares expire after three spans");
}

#[test]
fn flexible_requests_are_last_and_a_higher_weight_is_served_first() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 6));
    for n in 0..6 {
        queue.arrive(n, caller(&cand, &[1]));
    }
    let flex = TestClient { flex: true, ..TestClient::named("night") };
    let patient = queue.arrive(10, Caller::new(&flex, &[(&cand, &[1])]).waiting(5 * MINUTE));
    let usual: Vec<String> = (0..4).map(|n| queue.arrive(20 + n, caller(&cand, &[1]))).collect();
    queue.pass_until_over(5 * MINUTE);
    let last = queue.went(&usual).into_iter().flatten().max().unwrap();
    let patient = queue.callers[&patient].went_ms.unwrap();
    assert!(patient > last, "the flexible request was admitted at {patient}, the last of the others at {last}");

    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 6));
    for n in 0..6 {
        queue.arrive(n, caller(&cand, &[1]));
    }
    let (slow, quick) = (TestClient::named("slow"), TestClient::named("quick").with_weight(4));
    let of = |queue: &mut QueueSimulation, client: &TestClient, n: i64| {
        queue.arrive(20 + n, Caller::new(client, &[(&cand, &[1])]).waiting(4 * MINUTE))
    };
    let slow: Vec<String> = (0..4).map(|n| of(&mut queue, &slow, n)).collect();
    let quick: Vec<String> = (0..4).map(|n| of(&mut queue, &quick, 10 + n)).collect();
    queue.pass_until_over(6 * MINUTE);
    let last = |ids: &[String]| queue.went(ids).into_iter().flatten().max().unwrap();
    assert!(last(&quick) < last(&slow), "four times the weight is served first");
}

#[derive(Debug, Clone)]
struct Coming {
    after_ms: i64,
    client: usize,
    which: usize,
    size: i64,
    wait_ms: i64,
    life_ms: i64,
    used: i64,
    fate: u8,
}

fn coming() -> impl Strategy<Value = Coming> {
    let times = prop_oneof![3 => 0..50_i64, 2 => 50..3_000_i64, 1 => 3_000..40_000_i64];
    (times, 0..4_usize, 0..5_usize, 1..100_i64, 0..150_000_i64, 50..20_000_i64, 0..120_i64, 0..12_u8).prop_map(
        |(after_ms, client, which, size, wait_ms, life_ms, used, fate)| Coming {
            after_ms,
            client,
            which,
            size,
            wait_ms,
            life_ms,
            used,
            fate,
        },
    )
}

proptest! {
    #![proptest_config(cases(40))]

    /// Two accounts and another provider with clients at all of them and conflicting tags. Callers leave and die, and
    /// replies use less than reserved. Every ticket is admitted or gives up, and no window is over its limit.
    #[test]
    fn no_request_waits_forever_and_no_window_is_over_its_limit(
        kind in prop::sample::select(vec!['s', 'b']),
        lists in any::<bool>(),
        all in prop::collection::vec(coming(), 1..120),
    ) {
        let mut queue = QueueSimulation::new();
        queue.lists = lists;
        let windows = [win("rpm", kind, 6).account_wide(), win("tpm", kind, 2_000)];
        let pool = [
            cand("groq", &windows).with("a", "x"),
            cand("groq", &windows).with("b", "x"),
            cand("groq", &windows).with("a", "y"),
            cand("other", &[win("rpm", kind, 4), win("concurrency", 'n', 2)]),
        ];
        let clients = [
            TestClient::default(),
            TestClient::named("ann").with(&[win("rpm", 's', 5)]),
            TestClient::named("bob").with_weight(3),
            TestClient { flex: true, ..TestClient::named("night") },
        ];
        let mut at = 0;
        for one in &all {
            at += one.after_ms;
            let units = |c: &Cand| c.windows.iter().map(|w| if w.limit.as_str() == "tpm" { one.size * 20 } else { 1 }).collect::<Vec<i64>>();
            let used = |c: &Cand| c.windows.iter().map(|w| if w.limit.as_str() == "tpm" { one.size * 20 * one.used / 100 } else { -1 }).collect::<Vec<i64>>();
            let picks: Vec<&Cand> = match one.which {
                0 => vec![&pool[0]],
                1 => vec![&pool[1], &pool[0]],
                2 => vec![&pool[2], &pool[3]],
                3 => vec![&pool[3], &pool[1], &pool[2]],
                _ => pool.iter().collect(),
            };
            let requested: Vec<(Cand, Vec<i64>)> = picks.iter().map(|c| ((*c).clone(), units(c))).collect();
            let choices: Vec<(&Cand, &[i64])> = requested.iter().map(|(c, u)| (c, &u[..])).collect();
            let caller = Caller::new(&clients[one.client], &choices).waiting(one.wait_ms);
            // Only replies of requests with one candidate use less than charged.
            let used = (picks.len() == 1).then(|| used(picks[0]));
            let came = queue.ledger.now() + at;
            let caller = Caller {
                life_ms: one.life_ms,
                used: used.filter(|_| one.used <= 100),
                leaves_ms: (one.fate == 0).then_some(came + one.wait_ms / 2),
                dies_ms: (one.fate == 1).then_some(came + one.wait_ms / 3),
                ..caller
            };
            queue.arrive(at, caller);
        }
        queue.pass(at + 160_000);
        let stuck: Vec<_> = queue.callers.iter().filter(|(_, c)| !c.is_over() && c.dies_ms.is_none()).collect();
        prop_assert!(stuck.is_empty(), "still waiting: {stuck:?}");
        queue.ledger.heartbeat(&["none"]); // drops expired tickets
        prop_assert!(queue.ledger.queued_tickets().is_empty(), "still queued: {:?}", queue.ledger.queued_tickets());
        queue.assert_within_limits();
    }
}

#[test]
fn a_ticket_that_asks_again_at_once_stays_in_its_queue() {
    let mut ledger = TestLedger::new();
    let [one, other] = ["groq", "other"].map(|provider| cand(provider, &[win("tpm", 'b', 2_000)]));
    for cand in [&one, &other] {
        ledger.request(cand, &[2_000]).go();
    }
    let client = TestClient::default();
    let mut ask = |id: &str, choices: &[(&Cand, &[i64])], again| {
        ledger.admit_queued(id, &client, choices, WaitRequest { wait_ms: 5 * MINUTE, again });
        ledger.queued_tickets()
    };
    ask("short", &[(&one, &[340])], false);
    ask("longer", &[(&other, &[400])], false);
    let large: [(&Cand, &[i64]); 2] = [(&one, &[1_280]), (&other, &[1_280])];
    let queued = ask("large", &large, false);
    assert_eq!(queued, ["short", "large", "longer"]);
    // What it needs itself is not queued before it.
    assert_eq!(ask("large", &large, true), queued);
}

proptest! {
    #![proptest_config(cases(400))]

    /// One call for many tickets charges what calls for each of them would, in the order of the queue.
    #[test]
    fn a_list_admits_what_single_calls_in_the_order_of_the_queue_do(
        kind in prop::sample::select(vec!['s', 'b']),
        rpm in 3..30_i64,
        tickets in prop::collection::vec((0..4_usize, 1..80_i64, 0..3_u8), 2..24),
        later in prop::collection::vec((0..4_usize, 1..80_i64), 0..40),
        wait in 0..62_000_i64,
    ) {
        let cand = cand("groq", &[win("rpm", kind, rpm).account_wide(), win("tpm", kind, 2_000)]);
        let clients = [
            TestClient::default(),
            TestClient::named("ann").with(&[win("rpm", 's', 5)]),
            TestClient::named("bob").with_weight(3),
            TestClient { flex: true, ..TestClient::named("night") },
        ];
        let ledgers = [TestLedger::new(), TestLedger::new()];
        let mut granted = Vec::new();
        for (lists, mut ledger) in [true, false].into_iter().zip(ledgers) {
            while ledger.request(&cand, &[1, 100]).is_go() {
                ledger.pass(7);
            }
            // Tickets of two replicas: the first asks.
            let mut own: Vec<(String, usize, i64, i64)> = Vec::new();
            for (client, size, leaves) in &tickets {
                let id = ledger.fresh_id();
                let wait = WaitRequest { wait_ms: 3 * MINUTE, again: false };
                let admit = ledger.admit_queued(&id, &clients[*client], &[(&cand, &[1, size * 20])], wait);
                if matches!(admit, Admit::Wait(_)) {
                    own.push((id, *client, *size, i64::from(*leaves != 0) * 3 * MINUTE));
                }
            }
            for (client, size) in &later {
                let (id, wait) = (ledger.fresh_id(), WaitRequest { wait_ms: 3 * MINUTE, again: false });
                ledger.admit_queued(&id, &clients[*client], &[(&cand, &[1, size * 20])], wait);
            }
            let all = ledger.queued_tickets();
            for step in 0..wait / 1_000 {
                ledger.pass(1_000);
                if step % 2 == 0 {
                    ledger.heartbeat(&all.iter().map(String::as_str).collect::<Vec<_>>());
                }
            }
            ledger.notifications();
            own.sort_by_key(|(id, ..)| all.iter().position(|queued| queued == id));
            let units: Vec<[i64; 2]> = own.iter().map(|(_, _, size, _)| [1, size * 20]).collect();
            let mut went = Vec::new();
            if lists && !own.is_empty() {
                let mut asking = Vec::new();
                for ((id, client, _, wait_ms), units) in own.iter().zip(&units) {
                    let choices = vec![(&cand, &units[..])];
                    asking.push(Asking { id, client: &clients[*client], choices, wait_ms: *wait_ms });
                }
                for ((id, ..), admit) in own.iter().zip(ledger.admit_list(&asking)) {
                    if admit.is_go() { went.push(id.clone()) }
                }
            } else {
                let mut called = std::collections::BTreeSet::new();
                loop {
                    // One that leaves moves others.
                    let position = |id| own.iter().position(|(other, ..)| other == id && !called.contains(id));
                    let queued = ledger.queued_tickets();
                    let Some(next) = queued.iter().find_map(position) else { break };
                    let (id, client, _, wait_ms) = &own[next];
                    let wait = WaitRequest { wait_ms: *wait_ms, again: true };
                    let admit = ledger.admit_queued(id, &clients[*client], &[(&cand, &units[next])], wait);
                    if admit.is_go() { went.push(id.clone()) }
                    called.insert(id.clone());
                }
            }
            went.sort();
            granted.push((went, ledger.charges(), ledger.queued_tickets()));
        }
        prop_assert_eq!(&granted[0], &granted[1]);
    }
}

#[test]
fn a_repeated_request_keeps_its_ticket() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 1));
    queue.ledger.request(&cand, &[1]).go();
    let wait = WaitRequest { wait_ms: 2 * MINUTE, again: true };
    for _ in 0..3 {
        let reply = queue.ledger.admit_queued("lost", &TestClient::default(), &[(&cand, &[1])], wait);
        assert!(matches!(reply, Admit::Wait(_)), "{reply:?}");
    }
    assert_eq!(queue.ledger.queued_tickets(), ["lost"]);
}
