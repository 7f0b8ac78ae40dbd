//! The `budget` script agrees with `admit`: exact use, and the exact time at which a window opens.

use bytes::Bytes;
use tollfree::ledger::{engine::Reply, keys::Keys, scripts::Script};

use super::{
    model::{SLACK, Win, pack},
    rig::{Admit, Cand, End, START_MS, TestClient, TestLedger, WaitRequest, cand, win},
    world::Dice,
};

/// One window of the reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WindowRow {
    pub(super) max: i64,
    learned: i64,
    pub(super) used: i64,
    opens: i64,
    exact: i64,
    empty: i64,
    waiting: i64,
    learned_at: i64,
    pub(super) origin: i64,
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

pub(super) fn window_rows(ledger: &TestLedger, cands: &[Cand]) -> Vec<WindowRow> {
    let Reply::List(items) = budget(ledger, cands) else { panic!("no list") };
    let number = |item: &Reply| if let Reply::Int(n) = item { *n } else { panic!("no number: {item:?}") };
    let numbers: Vec<i64> = items.iter().map(number).collect();
    assert_eq!(numbers[0], ledger.now());
    let row = |n: &[i64]| WindowRow {
        max: n[0],
        learned: n[1],
        used: n[2],
        opens: n[3],
        exact: n[4],
        empty: n[5],
        waiting: n[6],
        learned_at: n[7],
        origin: n[8],
    };
    numbers[6..].chunks(9).map(row).collect()
}

fn window_row(ledger: &TestLedger, cand: &Cand) -> WindowRow {
    window_rows(ledger, std::slice::from_ref(cand)).remove(0)
}

#[test]
fn a_window_opens_exactly_at_the_reported_time() {
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
            if let Admit::Go(lease) = ledger.request(&one, &[units])
                && dice.one_in(3)
            {
                ledger.close(&lease, &End::used(&[units / 2]));
            }
            let row = window_row(&ledger, &one);
            assert!(row.max == max && row.exact == 1 && row.used <= max, "{seed}: {row:?}");
            // Near midnight the full day of a calendar window may be the other one.
            assert!(kind == 'c' || (row.used < max) == (row.opens == ledger.now()), "{seed}: {row:?}");
            if row.opens > ledger.now() {
                full += 1;
                let now = ledger.now();
                if row.opens - 2 > now {
                    ledger.at(row.opens - 2);
                    ledger.request(&one, &[1]).no();
                }
                ledger.at(row.opens);
                ledger.request(&one, &[1]).go();
                ledger.sync(); // replicas do so continuously
            }
        }
    }
    assert!(full > 200, "windows were full only {full} times");
}

#[test]
fn a_budget_report_changes_no_charge() {
    for kind in ['s', 'm', 'b'] {
        let one = cand("one", &[win("tpm", kind, 100), win("concurrency", 'n', 3)]);
        let mut ledger = TestLedger::new();
        for _ in 0..3 {
            ledger.request(&one, &[20, 1]).go();
            ledger.pass(900);
        }
        let before = ledger.charges();
        let rows = window_rows(&ledger, std::slice::from_ref(&one));
        assert_eq!(ledger.charges(), before, "{kind}");
        assert_eq!(
            (rows[1].used, rows[1].exact, rows[1].max),
            (3, 0, 3),
            "the time at which a slot opens is an estimate"
        );
        assert_eq!(rows[1].opens, START_MS + 30_000, "the first lease expires then");
        ledger.at(rows[0].empty);
        assert_eq!(window_row(&ledger, &one).used, 0, "{kind}: no charge counts any more");
    }
}

#[test]
fn queued_units_are_reported_per_window() {
    let account = [win("rpm", 's', 2).account_wide(), win("tpm", 's', 9_000)];
    let (a, b) = (cand("groq", &account).with("a", "x"), cand("groq", &account).with("b", "x"));
    let mut ledger = TestLedger::new();
    ledger.request(&a, &[1, 10]).go();
    ledger.request(&a, &[1, 10]).go();
    let wait = WaitRequest { wait_ms: 200_000, again: false };
    for (id, cand) in [("one", &a), ("two", &b), ("three", &b)] {
        let reply = ledger.admit_queued(id, &TestClient::default(), &[(cand, &[1, 300])], wait);
        assert!(matches!(reply, Admit::Wait(_)), "{reply:?}");
    }
    let waiting: Vec<i64> = window_rows(&ledger, &[a, b]).iter().map(|row| row.waiting).collect();
    assert_eq!(waiting, [3, 300, 600], "of the account, the first model and the second model");
}

#[test]
fn a_learned_limit_is_in_force_and_reported_as_learned() {
    let one = cand("one", &[win("rpm", 's', 30)]);
    let mut ledger = TestLedger::new();
    let lease = ledger.request(&one, &[1]).go();
    ledger.close(&lease, &End { hints: "rpm 10 -1 m 1 ".to_owned(), ..End::used(&[1]) });
    let row = window_row(&ledger, &one);
    assert_eq!((row.max, row.learned, row.used), (10, 1, 1));
    assert_eq!((row.learned_at, row.origin), (ledger.now(), 1), "by an answer");
    ledger.pass(5_000);
    let lease = ledger.request(&one, &[1]).go();
    ledger.close(
        &lease,
        &End { hints: "rpm 9 -1 m 1 ".to_owned(), cooldown: "m 1 rpm 429_rpm".to_owned(), ..End::used(&[1]) },
    );
    let row = window_row(&ledger, &one);
    assert_eq!((row.max, row.learned_at, row.origin), (9, ledger.now(), 2), "by a refusal");
    ledger.control("forget", "m:one/account/model rpm");
    let row = window_row(&ledger, &one);
    assert_eq!((row.max, row.learned, row.learned_at, row.origin), (30, 0, 0, 0));
}

#[test]
fn outdated_calendar_boundaries_are_rejected() {
    let one = cand("one", &[win("rpd", 'c', 30).in_zone("UTC")]);
    let ledger = TestLedger::new();
    let old = one.with_stale_span(0, "1000,2000,3000");
    assert_eq!(budget(&ledger, &[old]), Reply::List(vec![Reply::Int(-3), Reply::Int(ledger.now())]));
    let row = window_row(&ledger, &one);
    assert_eq!((row.used, row.opens), (0, ledger.now()));
    assert_eq!(row.empty % 86_400_000, 0, "a day ends at midnight");
}
