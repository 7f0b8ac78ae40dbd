//! Guarantees 3 and 5 in single histories: a refusal leaves no trace, and the instant it names is true.

use super::rig::{Asker, End, NEVER, SLACK, START_MS, TestLedger, cand, win};

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_later_charge() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 10)]);
    ledger.ask(&one, &[3]).go();
    ledger.pass(10_000);
    ledger.ask(&one, &[5]).go();
    ledger.ask(&one, &[5]).no();
    ledger.ask(&one, &[2]).go();
    let refusal = ledger.ask(&one, &[5]).no();
    ledger.at(refusal.opens);
    ledger.ask(&one, &[5]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_correction() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    let first = ledger.ask(&one, &[10]).go();
    ledger.pass(10_000);
    ledger.ask(&one, &[60]).go();
    // The first answer was longer than thought: now its place alone makes room, 10 s sooner than the memo says.
    let before = ledger.ask(&one, &[55]).no();
    ledger.close(&first, &End::used(&[30]));
    let refusal = ledger.ask(&one, &[35]).no();
    assert_eq!(before.opens - refusal.opens, 10_000);
    ledger.at(refusal.opens - 2);
    ledger.ask(&one, &[35]).no();
    ledger.at(refusal.opens);
    ledger.ask(&one, &[35]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_correction_behind_it() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    ledger.ask(&one, &[30]).go();
    ledger.pass(10_000);
    let second = ledger.ask(&one, &[60]).go();
    assert_eq!(ledger.ask(&one, &[30]).no().opens, START_MS + 60_251);
    ledger.close(&second, &End::used(&[80]));
    let refusal = ledger.ask(&one, &[30]).no();
    assert_eq!(refusal.opens, START_MS + 70_251);
    ledger.at(refusal.opens);
    ledger.ask(&one, &[30]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_its_sweep() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    ledger.ask(&one, &[20]).go();
    ledger.pass(30_000);
    ledger.ask(&one, &[40]).go();
    ledger.pass(1_000);
    ledger.ask(&one, &[40]).go();
    // 50 need the 20 and the 40 to leave.
    assert_eq!(ledger.ask(&one, &[50]).no().opens, START_MS + 90_251);
    ledger.at(START_MS + 61_000);
    // The 20 have left, which this one finds out; then 50 are too many again, and need both 40s.
    ledger.ask(&one, &[5]).go();
    let refusal = ledger.ask(&one, &[65]).no();
    assert_eq!(refusal.opens, START_MS + 91_251);
    ledger.at(refusal.opens);
    ledger.ask(&one, &[65]).go();
}

#[test]
fn rps_1_rpm_1_and_buckets_of_1_open_again_after_span_and_slack_and_never_sooner() {
    for (name, kind) in [("rps", 's'), ("rpm", 's'), ("rpd", 's'), ("rps", 'b'), ("rpm", 'b'), ("rpd", 'b')] {
        let mut ledger = TestLedger::new();
        let w = win(name, kind, 1);
        let span = w.span_ms;
        let one = cand("one", &[w]);
        for _ in 0..5 {
            let lease = ledger.ask(&one, &[1]).go();
            let refusal = ledger.ask(&one, &[1]).no();
            // 1 ms for what the clock cut off.
            assert_eq!(refusal.opens, lease.granted_ms + span + 250 + 1, "{name} {kind}");
            assert!(refusal.exact);
            ledger.at(refusal.opens - 1);
            ledger.ask(&one, &[1]).no();
            ledger.at(refusal.opens);
        }
    }
}

#[test]
fn a_request_refused_by_two_windows_waits_for_the_later_and_one_by_two_candidates_for_the_sooner() {
    let mut ledger = TestLedger::new();
    let slow = cand("slow", &[win("rpm", 's', 1), win("rpd", 's', 1)]);
    let quick = cand("quick", &[win("rpm", 's', 1)]);
    let both: [(&_, &[i64]); 2] = [(&slow, &[1, 1]), (&quick, &[1])];
    assert_eq!(ledger.admit(&Asker::default(), &both).go().chosen, 0);
    ledger.pass(5_000);
    assert_eq!(ledger.admit(&Asker::default(), &both).go().chosen, 1);
    let refusal = ledger.admit(&Asker::default(), &both).no();
    assert_eq!(refusal.lines.iter().map(|l| &l.why[..]).collect::<Vec<_>>(), ["rpd", "rpm"]);
    assert_eq!(refusal.lines[0].opens, START_MS + 86_400_251);
    assert_eq!(refusal.opens, START_MS + 65_251);
    ledger.at(refusal.opens);
    assert_eq!(ledger.admit(&Asker::default(), &both).go().chosen, 1);
}

#[test]
fn the_clients_own_quota_refuses_by_itself_and_names_its_own_instant() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 100)]);
    let ann = Asker::named("ann").with(&[win("rpm", 's', 2)]);
    let ask: [(&_, &[i64]); 1] = [(&one, &[1])];
    ledger.admit(&ann, &ask).go();
    ledger.pass(10_000);
    ledger.admit(&ann, &ask).go();
    let before = ledger.charges();
    let refusal = ledger.admit(&ann, &ask).no();
    assert!(refusal.by_client && refusal.exact);
    assert_eq!((&refusal.lines[0].why[..], refusal.lines[0].max, refusal.opens), ("rpm", 2, START_MS + 60_251));
    assert_eq!(ledger.charges(), before);
    ledger.ask(&one, &[1]).go();
    ledger.at(refusal.opens);
    ledger.admit(&ann, &ask).go();
}

#[test]
fn a_clients_window_forgets_none_of_what_it_let_through() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 1_000)]);
    // A log, and sub-buckets.
    for most in [5, 150] {
        let asker = Asker::named(&format!("of-{most}")).with(&[win("rpm", 's', most)]);
        let first = ledger.now();
        for _ in 0..most {
            ledger.admit(&asker, &[(&one, &[1])]).go();
            ledger.pass(7);
        }
        let refusal = ledger.admit(&asker, &[(&one, &[1])]).no();
        assert!(refusal.by_client && refusal.opens >= first + 60_000 + SLACK, "{refusal:?}");
        ledger.pass(30_000);
        ledger.admit(&asker, &[(&one, &[1])]).no();
        ledger.at(refusal.opens);
        ledger.admit(&asker, &[(&one, &[1])]).go();
    }
}

#[test]
fn a_candidate_without_room_in_its_last_window_leaves_the_others_untouched() {
    let mut ledger = TestLedger::new();
    let kinds = [win("rpm", 's', 9), win("rpd", 'b', 9), win("tpd", 'c', 9).in_zone("UTC"), win("concurrency", 'n', 9)];
    let full = cand("one", &[&kinds[..], &[win("tpm", 's', 5)]].concat());
    let ann = Asker::named("ann").with(&[win("rpm", 's', 9)]);
    ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 5])]).go();
    let before = ledger.charges();
    let refusal = ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 1])]).no();
    assert_eq!(refusal.lines[0].why, "tpm");
    assert_eq!(ledger.charges(), before);
    ledger.at(refusal.opens);
    ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 1])]).go();
}

#[test]
fn what_can_never_fit_is_refused_for_ever_and_a_slot_is_only_a_guess() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 'b', 100), win("concurrency", 'n', 1)]);
    assert!(ledger.ask(&one, &[101, 1]).no().opens >= NEVER);
    let lease = ledger.ask(&one, &[10, 1]).go();
    let refusal = ledger.ask(&one, &[10, 1]).no();
    assert!(!refusal.exact, "a slot frees when an answer ends: {refusal:?}");
    ledger.close(&lease, &End::default());
    ledger.ask(&one, &[10, 1]).go();
}

#[test]
fn a_spent_bucket_of_a_day_gives_one_back_every_86_seconds() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpd", 'b', 1_000)]);
    for _ in 0..1_000 {
        ledger.ask(&one, &[1]).go();
    }
    let first = ledger.ask(&one, &[1]).no().opens;
    assert_eq!(first, START_MS + 251 + 86_400);
    for n in 0..20 {
        ledger.at(first + n * 86_400 - 1);
        ledger.ask(&one, &[1]).no();
        ledger.at(first + n * 86_400);
        ledger.ask(&one, &[1]).go();
    }
}

#[test]
fn a_spent_calendar_day_opens_two_seconds_after_its_midnight() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpd", 'c', 3).in_zone("UTC")]);
    for _ in 0..3 {
        ledger.ask(&one, &[1]).go();
    }
    let refusal = ledger.ask(&one, &[1]).no();
    let midnight = (START_MS / 86_400_000 + 1) * 86_400_000;
    assert_eq!((refusal.opens, refusal.exact), (midnight + 2_000, true));
    ledger.at(refusal.opens - 2);
    ledger.ask(&one, &[1]).no();
    ledger.at(refusal.opens);
    for _ in 0..3 {
        ledger.ask(&one, &[1]).go();
    }
    ledger.ask(&one, &[1]).no();
}

#[test]
fn a_full_window_is_walked_once_for_all_who_ask_for_as_much() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30), win("tpm", 's', 9_000)]);
    for _ in 0..30 {
        ledger.pass(3);
        ledger.ask(&one, &[1, 300]).go();
    }
    ledger.ask(&one, &[1, 300]).no();
    let head = "return redis.call('HGET', KEYS[1], 'h')";
    let walked: Vec<_> = one.windows.iter().map(|w| ledger.look(head, &one.window_key(w))).collect();
    ledger.pass(5);
    ledger.ask(&one, &[1, 300]).no();
    for (w, before) in one.windows.iter().zip(&walked) {
        assert_eq!(&ledger.look(head, &one.window_key(w)), before, "a walk leaves its instant in w");
    }
}
