//! The waiting room: in order of asking, nobody overtaken, no place left empty, and never over.

use proptest::prelude::*;

use super::{
    cases,
    queue::{Caller, QueueSimulation},
    rig::{Admit, Asker, Cand, End, WaitRequest, cand, win},
};

const MINUTE: i64 = 60_000;
const SLACK: i64 = super::rig::SLACK;

fn one(kind: char, limit: &str, max: i64) -> Cand {
    cand("groq", &[win(limit, kind, max)])
}

fn caller(cand: &Cand, units: &[i64]) -> Caller {
    Caller::new(&Asker::default(), &[(cand, units)])
}

/// Sixty at once over thirty a minute; the first thirty go, the rest wait for a minute.
fn sixty(queue: &mut QueueSimulation, cand: &Cand) -> Vec<String> {
    (0..60).map(|n| queue.comes(n, caller(cand, &[1]))).collect()
}

#[test]
fn sixty_at_once_are_served_in_order_within_a_hair_of_the_perfect_time() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    let start = queue.ledger.now();
    let ids = sixty(&mut queue, &cand);
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().map(|at| at.expect("everybody is served") - start).collect();
    assert!(went.is_sorted(), "overtaken: {went:?}");
    let perfect = MINUTE + SLACK + 60;
    assert!(*went.last().unwrap() <= perfect * 103 / 100, "the last one went after {} ms", went.last().unwrap());
    let asked: u32 = ids.iter().map(|id| queue.callers[id].asked).sum();
    assert!(asked <= 60 * 2, "{asked} scripts for 60 callers");
    queue.judge();
}

#[test]
fn a_bucket_lets_those_in_line_go_one_by_one() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
    let start = queue.ledger.now();
    let ids: Vec<String> = (0..60).map(|n| queue.comes(n, caller(&cand, &[1]))).collect();
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().map(|at| at.expect("everybody is served") - start).collect();
    assert!(went.is_sorted(), "overtaken: {went:?}");
    // One every two seconds, after the first thirty.
    assert!(*went.last().unwrap() <= (30 * 2_000 + SLACK + 60) * 103 / 100, "{went:?}");
    queue.judge();
}

#[test]
fn where_a_third_leaves_or_dies_the_others_move_up() {
    for dies in [false, true] {
        let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
        let start = queue.ledger.now();
        let ids: Vec<String> = (0..90).map(|n| queue.comes(n, caller(&cand, &[1]).waiting(3 * MINUTE))).collect();
        queue.pass(20_000);
        // Every third of those who still wait.
        let gone: Vec<&String> = ids[45..].iter().step_by(3).collect();
        let now = queue.ledger.now();
        for (n, id) in (0_i64..).zip(&gone) {
            let caller = queue.callers.get_mut(*id).unwrap();
            *(if dies { &mut caller.dies_ms } else { &mut caller.leaves_ms }) = Some(now + n * 37);
        }
        queue.pass_until_over(4 * MINUTE);
        let last =
            ids.iter().filter(|id| !gone.contains(id)).map(|id| queue.callers[id].went_ms.unwrap()).max().unwrap();
        // 75 in all: 30 at once, 45 at two seconds each; the dead are missed after three seconds.
        let perfect = 45 * 2_000 + SLACK;
        let most = if dies { perfect + 4_000 } else { perfect * 103 / 100 };
        assert!(last - start <= most, "the last one went after {} ms, dies: {dies}", last - start);
        assert!(queue.ledger.is_queued().is_empty());
        queue.judge();
    }
}

#[test]
fn lost_knocks_cost_time_and_nobody_a_place() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    queue.lose_knocks = true;
    let ids = sixty(&mut queue, &cand);
    for id in ids[40..].iter().step_by(4) {
        queue.callers.get_mut(id).unwrap().leaves_ms = Some(queue.ledger.now() + 5_000);
    }
    queue.pass_until_over(3 * MINUTE);
    let went: Vec<i64> = queue.went(&ids).into_iter().flatten().collect();
    assert_eq!(went.len(), 55);
    assert!(went.is_sorted(), "overtaken: {went:?}");
    queue.judge();
}

#[test]
fn who_waits_for_one_goes_at_once_where_another_frees() {
    let mut queue = QueueSimulation::new();
    let busy = cand("one", &[win("tpm", 'b', 1_000)]);
    let other = cand("two", &[win("tpm", 's', 1_000)]);
    // Both are full; the second by a reserve that its answer will not need.
    queue.comes(0, Caller { life_ms: 60_000, ..caller(&busy, &[1_000]) });
    queue.comes(0, Caller { life_ms: 3_000, used: Some(vec![10]), ..caller(&other, &[1_000]) });
    let id = queue.comes(1, Caller::new(&Asker::default(), &[(&busy, &[500]), (&other, &[500])]));
    let start = queue.ledger.now();
    queue.pass(2_900);
    assert_eq!(queue.callers[&id].went_ms, None);
    queue.pass(200);
    assert_eq!(queue.callers[&id].went_ms, Some(start + 3_000));
}

#[test]
fn a_slot_that_frees_early_is_taken_at_once() {
    let mut queue = QueueSimulation::new();
    let cand = cand("zai", &[win("concurrency", 'n', 1)]);
    queue.comes(0, Caller { life_ms: 3_000, used: Some(vec![-1]), ..caller(&cand, &[1]) });
    let id = queue.comes(1, caller(&cand, &[1]).waiting(10_000));
    let start = queue.ledger.now();
    queue.pass(5_000);
    assert_eq!(queue.callers[&id].went_ms, Some(start + 3_000));
}

#[test]
fn a_huge_request_among_small_ones_is_served_or_refused_at_the_door() {
    for kind in ['b', 's'] {
        let (mut queue, cand) = (QueueSimulation::new(), cand("groq", &[win("tpm", kind, 8_000)]));
        // Small ones at two and a half times the capacity.
        for n in 0..600 {
            queue.comes(n * 600, caller(&cand, &[200]).waiting(20_000));
        }
        queue.pass(90_000);
        let start = queue.ledger.now();
        let huge = queue.comes(0, caller(&cand, &[7_500]).waiting(2 * MINUTE));
        let hasty = queue.comes(0, caller(&cand, &[7_500]).waiting(1_000));
        queue.pass(150_000);
        let took = queue.callers[&huge].went_ms.map(|at| at - start);
        assert!(took.is_some_and(|ms| ms <= 80_000), "{kind}: {took:?}");
        let (at, _) = queue.callers[&hasty].refused.as_ref().expect("it would not wait that long");
        assert_eq!(*at, start, "{kind}: refused at the door");
        queue.judge();
    }
}

#[test]
fn what_is_told_at_the_door_is_true_with_others_in_line() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    for n in 0..50 {
        queue.comes(n, caller(&cand, &[1]));
    }
    queue.pass(100);
    let Admit::No(refusal) = queue.ledger.ask(&cand, &[1]) else { panic!("it is full") };
    queue.pass(refusal.opens - queue.ledger.now() - 2);
    assert!(!queue.ledger.ask(&cand, &[1]).is_go(), "two ms too soon");
    queue.pass(2);
    assert!(queue.ledger.ask(&cand, &[1]).is_go(), "at the instant told");
}

#[test]
fn a_closed_key_an_opened_breaker_and_a_lowered_limit_bind_those_who_wait() {
    // A key: its record is another version by now.
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 1));
    let record = "tf1:{judge}:m:ann".to_owned();
    queue.ledger.look("return redis.call('HSET', KEYS[1], 'v', 7, 'off', 0, 'exp', 0)", &record);
    let ann = Asker { version: 7, ..Asker::named("ann") };
    let one_of_hers = || Caller::new(&ann, &[(&cand, &[1])]);
    queue.comes(0, one_of_hers());
    let ids: Vec<String> = (1..5).map(|n| queue.comes(n, one_of_hers().waiting(5 * MINUTE))).collect();
    queue.pass(1_000);
    assert_eq!(queue.ledger.is_queued().len(), 4);
    queue.ledger.look("return redis.call('HSET', KEYS[1], 'v', 8, 'off', 1)", &record);
    queue.pass_until_over(6 * MINUTE);
    assert!(ids.iter().all(|id| queue.callers[id].shut_out && queue.callers[id].went_ms.is_none()));

    // A breaker: nobody goes while it is open.
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 2));
    let failing = queue.ledger.ask(&cand, &[1]).go();
    let ids: Vec<String> = (0..9).map(|n| queue.comes(n, caller(&cand, &[1]).waiting(10 * MINUTE))).collect();
    queue.pass(100);
    queue.ledger.close(&failing, &End { rules: "1 2 90000", ..End::verdict("failed", "nothing") });
    let opened = queue.ledger.now();
    queue.pass(89_900);
    let after = |queue: &QueueSimulation| queue.went(&ids).into_iter().flatten().filter(|at| *at > opened).count();
    assert_eq!(after(&queue), 0);
    // Then one tries it out, and with its success the others follow.
    queue.pass(100);
    assert_eq!(after(&queue), 1);
    queue.pass_until_over(11 * MINUTE);
    assert!(after(&queue) >= 8, "{} went", after(&queue));

    // A limit lowered by what the provider says.
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 30));
    let first = queue.ledger.ask(&cand, &[1]).go();
    let ids: Vec<String> = (0..59).map(|n| queue.comes(n, caller(&cand, &[1]))).collect();
    queue.pass(100);
    queue.ledger.close(&first, &End { hints: "rpm 3 -1 m 1 ".into(), ..End::verdict("good", "good") });
    queue.pass(MINUTE + 10_000);
    let later = queue.went(&ids).into_iter().flatten().filter(|at| *at > queue.ledger.now() - 15_000).count();
    assert!(later <= 3, "{later} went over a limit of 3");
}

#[test]
fn who_waits_for_its_own_quota_takes_nobodys_place() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 3));
    let ann = Asker::named("ann").with(&[win("rpm", 's', 1)]);
    for n in 0..2 {
        queue.comes(n, Caller::new(&ann, &[(&cand, &[1])]));
    }
    queue.pass(10);
    assert_eq!(queue.ledger.is_queued().len(), 1);
    let others: Vec<String> = (0..2).map(|n| queue.comes(n, caller(&cand, &[1]))).collect();
    queue.pass(10);
    assert!(queue.went(&others).iter().all(Option::is_some), "the second request of ann's holds no place");
    // And a third one of hers finds that the second is in line already.
    let Admit::No(refusal) = queue.ledger.admit(&ann, &[(&cand, &[1])]) else { panic!("hers is full") };
    assert!(refusal.by_client);
    queue.pass_until_over(3 * MINUTE);
    assert!(queue.callers.values().all(|c| c.went_ms.is_some()));
    queue.judge();
}

#[test]
fn an_empty_room_leaves_nothing_behind() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 30));
    let ids = sixty(&mut queue, &cand);
    queue.pass_until_over(3 * MINUTE);
    assert!(queue.went(&ids).iter().all(Option::is_some));
    let left: Vec<String> = queue.ledger.room().into_keys().filter(|key| !key.contains(":sh:")).collect();
    assert!(left.is_empty(), "{left:?}");
    queue.pass(10 * MINUTE);
    assert!(queue.ledger.present().iter().all(|key| !key.contains(":sh:")), "shares end three spans later");
}

#[test]
fn flexible_work_stands_behind_all_and_priority_in_front() {
    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 6));
    for n in 0..6 {
        queue.comes(n, caller(&cand, &[1]));
    }
    let flex = Asker { flex: true, ..Asker::named("night") };
    let patient = queue.comes(10, Caller::new(&flex, &[(&cand, &[1])]).waiting(5 * MINUTE));
    let usual: Vec<String> = (0..4).map(|n| queue.comes(20 + n, caller(&cand, &[1]))).collect();
    queue.pass_until_over(5 * MINUTE);
    let last = queue.went(&usual).into_iter().flatten().max().unwrap();
    let patient = queue.callers[&patient].went_ms.unwrap();
    assert!(patient > last, "flexible work went at {patient}, the last of the others at {last}");

    let (mut queue, cand) = (QueueSimulation::new(), one('b', "rpm", 6));
    for n in 0..6 {
        queue.comes(n, caller(&cand, &[1]));
    }
    let (slow, quick) = (Asker::named("slow"), Asker::named("quick").weighing(4));
    let of = |queue: &mut QueueSimulation, asker: &Asker, n: i64| {
        queue.comes(20 + n, Caller::new(asker, &[(&cand, &[1])]).waiting(4 * MINUTE))
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
    asker: usize,
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
        |(after_ms, asker, which, size, wait_ms, life_ms, used, fate)| Coming {
            after_ms,
            asker,
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
    #![proptest_config(cases(400))]

    /// Two accounts and another provider, clients in all of them, tags in conflict; callers leave and die, answers use
    /// less than they reserved. Every ticket goes or gives up, and no window is ever over.
    #[test]
    fn nobody_waits_in_a_circle_and_nothing_is_over(kind in prop::sample::select(vec!['s', 'b']), all in prop::collection::vec(coming(), 1..120)) {
        let mut queue = QueueSimulation::new();
        let windows = [win("rpm", kind, 6).of_account(), win("tpm", kind, 2_000)];
        let pool = [
            cand("groq", &windows).with("a", "x"),
            cand("groq", &windows).with("b", "x"),
            cand("groq", &windows).with("a", "y"),
            cand("other", &[win("rpm", kind, 4), win("concurrency", 'n', 2)]),
        ];
        let askers = [
            Asker::default(),
            Asker::named("ann").with(&[win("rpm", 's', 5)]),
            Asker::named("bob").weighing(3),
            Asker { flex: true, ..Asker::named("night") },
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
            let asked: Vec<(Cand, Vec<i64>)> = picks.iter().map(|c| ((*c).clone(), units(c))).collect();
            let choices: Vec<(&Cand, &[i64])> = asked.iter().map(|(c, u)| (c, &u[..])).collect();
            let caller = Caller::new(&askers[one.asker], &choices).waiting(one.wait_ms);
            // What an answer uses is told for the candidate that is asked alone; else as charged.
            let used = (picks.len() == 1).then(|| used(picks[0]));
            let came = queue.ledger.now() + at;
            let caller = Caller {
                life_ms: one.life_ms,
                used: used.filter(|_| one.used <= 100),
                leaves_ms: (one.fate == 0).then_some(came + one.wait_ms / 2),
                dies_ms: (one.fate == 1).then_some(came + one.wait_ms / 3),
                ..caller
            };
            queue.comes(at, caller);
        }
        queue.pass(at + 160_000);
        let stuck: Vec<_> = queue.callers.iter().filter(|(_, c)| !c.is_over() && c.dies_ms.is_none()).collect();
        prop_assert!(stuck.is_empty(), "still waiting: {stuck:?}");
        queue.ledger.stay(&["nobody"]); // whoever comes next finds the dead
        prop_assert!(queue.ledger.is_queued().is_empty(), "left in line: {:?}", queue.ledger.is_queued());
        queue.judge();
    }
}

#[test]
fn an_answer_that_got_lost_leaves_the_same_ticket() {
    let (mut queue, cand) = (QueueSimulation::new(), one('s', "rpm", 1));
    queue.ledger.ask(&cand, &[1]).go();
    let wish = WaitRequest { wait_ms: 2 * MINUTE, again: true };
    for _ in 0..3 {
        let asked = queue.ledger.admit_in_line("lost", &Asker::default(), &[(&cand, &[1])], wish);
        assert!(matches!(asked, Admit::Wait(_)), "{asked:?}");
    }
    assert_eq!(queue.ledger.is_queued(), ["lost"]);
}
