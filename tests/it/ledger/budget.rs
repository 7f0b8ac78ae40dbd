//! What `budget` says of a window is what `admit` does: used to the unit, open when it says so and not before.

use bytes::Bytes;
use tollfree::ledger::{engine::Reply, keys::Keys, scripts::Script};

use super::{
    model::{SLACK, Win, pack},
    rig::{Admit, Asker, Cand, End, START_MS, TestLedger, WaitRequest, cand, win},
    world::Dice,
};

/// One window of the reply.
#[derive(Debug, PartialEq, Eq)]
struct Stand {
    max: i64,
    learned: i64,
    used: i64,
    opens: i64,
    exact: i64,
    empty: i64,
    waiting: i64,
}

/// The script's reply for the windows of these candidates, each window once.
pub(super) fn budget(ledger: &TestLedger, cands: &[Cand]) -> Reply {
    let keys = Keys::new("judge");
    let [queue, ..] = keys.queue();
    let mut all = vec![keys.meta(), keys.health(), keys.replicas(), keys.totals(), queue];
    let mut args = vec![Bytes::from(SLACK.to_string()), Bytes::from_static(b"5000")];
    for cand in cands {
        let fresh: Vec<Win> = cand.windows.iter().filter(|w| !all.contains(&cand.window_key(w))).cloned().collect();
        all.extend(fresh.iter().map(|w| cand.window_key(w)));
        let (p, a, m) = (&cand.provider, &cand.account, &cand.model);
        let packed = pack(&fresh, &vec![1; fresh.len()], ledger.now());
        args.push(Bytes::from(format!("m:{p}/{a}/{m}\ta:{p}/{a}\t{packed}")));
    }
    ledger.run(Script::Budget, &all, &args)
}

fn stands(ledger: &TestLedger, cands: &[Cand]) -> Vec<Stand> {
    let Reply::List(items) = budget(ledger, cands) else { panic!("no list") };
    let number = |item: &Reply| if let Reply::Int(n) = item { *n } else { panic!("no number: {item:?}") };
    let numbers: Vec<i64> = items.iter().map(number).collect();
    assert_eq!(numbers[0], ledger.now());
    let stand = |n: &[i64]| Stand {
        max: n[0],
        learned: n[1],
        used: n[2],
        opens: n[3],
        exact: n[4],
        empty: n[5],
        waiting: n[6],
    };
    numbers[6..].chunks(7).map(stand).collect()
}

fn stand(ledger: &TestLedger, cand: &Cand) -> Stand {
    stands(ledger, std::slice::from_ref(cand)).remove(0)
}

#[test]
fn what_is_said_to_open_opens_then_and_not_before() {
    let mut full = 0;
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let kind = *dice.pick(&['s', 'b', 'c']);
        let name = if kind == 'c' { "tpd" } else { *dice.pick(&["tpm", "rph", "tpd"]) };
        let max = *dice.pick(&[1, 7, 100, 128, 1_000]);
        let one = cand("one", &[win(name, kind, max).in_zone("UTC")]);
        let one = if kind == 'c' { one } else { cand("one", &[win(name, kind, max)]) };
        let mut ledger = TestLedger::new();
        let span = one.windows[0].span_ms;
        for _ in 0..60 {
            ledger.pass(dice.roll(0, span / 20));
            let units = dice.roll(1, max / 3 + 2).min(max);
            if let Admit::Go(lease) = ledger.ask(&one, &[units])
                && dice.one_in(3)
            {
                ledger.close(&lease, &End::used(&[units / 2]));
            }
            let told = stand(&ledger, &one);
            assert!(told.max == max && told.exact == 1 && told.used <= max, "{seed}: {told:?}");
            // (Near midnight a calendar's other day may be the full one.)
            assert!(kind == 'c' || (told.used < max) == (told.opens == ledger.now()), "{seed}: {told:?}");
            if told.opens > ledger.now() {
                full += 1;
                let now = ledger.now();
                if told.opens - 2 > now {
                    ledger.at(told.opens - 2);
                    ledger.ask(&one, &[1]).no();
                }
                ledger.at(told.opens);
                ledger.ask(&one, &[1]).go();
                ledger.sync(); // as replicas do all the time
            }
        }
    }
    assert!(full > 200, "windows were full {full} times only");
}

#[test]
fn looking_changes_no_charge() {
    for kind in ['s', 'm', 'b'] {
        let one = cand("one", &[win("tpm", kind, 100), win("concurrency", 'n', 3)]);
        let mut ledger = TestLedger::new();
        for _ in 0..3 {
            ledger.ask(&one, &[20, 1]).go();
            ledger.pass(900);
        }
        let before = ledger.charges();
        let told = stands(&ledger, std::slice::from_ref(&one));
        assert_eq!(ledger.charges(), before, "{kind}");
        assert_eq!((told[1].used, told[1].exact, told[1].max), (3, 0, 3), "slots open when an answer ends");
        assert_eq!(told[1].opens, START_MS + 30_000, "or when the first lease dies");
        ledger.at(told[0].empty);
        assert_eq!(stand(&ledger, &one).used, 0, "{kind}: nothing of it counts any more");
    }
}

#[test]
fn units_of_those_in_line_are_told_by_window() {
    let account = [win("rpm", 's', 2).of_account(), win("tpm", 's', 9_000)];
    let (a, b) = (cand("groq", &account).with("a", "x"), cand("groq", &account).with("b", "x"));
    let mut ledger = TestLedger::new();
    ledger.ask(&a, &[1, 10]).go();
    ledger.ask(&a, &[1, 10]).go();
    let wish = WaitRequest { wait_ms: 200_000, again: false };
    for (id, cand) in [("one", &a), ("two", &b), ("three", &b)] {
        let asked = ledger.admit_in_line(id, &Asker::default(), &[(cand, &[1, 300])], wish);
        assert!(matches!(asked, Admit::Wait(_)), "{asked:?}");
    }
    let told: Vec<i64> = stands(&ledger, &[a, b]).iter().map(|stand| stand.waiting).collect();
    assert_eq!(told, [3, 300, 600], "of the account, of the first model, of the second");
}

#[test]
fn a_learned_limit_is_in_force_and_says_so() {
    let one = cand("one", &[win("rpm", 's', 30)]);
    let mut ledger = TestLedger::new();
    let lease = ledger.ask(&one, &[1]).go();
    ledger.close(&lease, &End { hints: "rpm 10 -1 m 1 ".to_owned(), ..End::used(&[1]) });
    let told = stand(&ledger, &one);
    assert_eq!((told.max, told.learned, told.used), (10, 1, 1));
}

#[test]
fn boundaries_that_are_out_of_date_are_asked_for_anew() {
    let one = cand("one", &[win("rpd", 'c', 30).in_zone("UTC")]);
    let ledger = TestLedger::new();
    let old = one.with_span(0, "1000,2000,3000");
    assert_eq!(budget(&ledger, &[old]), Reply::List(vec![Reply::Int(-3), Reply::Int(ledger.now())]));
    let told = stand(&ledger, &one);
    assert_eq!((told.used, told.opens), (0, ledger.now()));
    assert_eq!(told.empty % 86_400_000, 0, "a day ends at midnight");
}
