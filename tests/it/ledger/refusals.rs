//! Guarantees 3 and 5 in single histories: a refusal changes no state, and its instant is exact.

use super::rig::{End, NEVER, SLACK, START_MS, TestClient, TestLedger, cand, win};

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_later_charge() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 10)]);
    ledger.request(&one, &[3]).go();
    ledger.pass(10_000);
    ledger.request(&one, &[5]).go();
    ledger.request(&one, &[5]).no();
    ledger.request(&one, &[2]).go();
    let refusal = ledger.request(&one, &[5]).no();
    ledger.at(refusal.opens);
    ledger.request(&one, &[5]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_correction() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    let first = ledger.request(&one, &[10]).go();
    ledger.pass(10_000);
    ledger.request(&one, &[60]).go();
    // The first reply used more than charged: its expiry alone makes enough room, 10 s before the memo's time.
    let before = ledger.request(&one, &[55]).no();
    ledger.close(&first, &End::used(&[30]));
    let refusal = ledger.request(&one, &[35]).no();
    assert_eq!(before.opens - refusal.opens, 10_000);
    ledger.at(refusal.opens - 2);
    ledger.request(&one, &[35]).no();
    ledger.at(refusal.opens);
    ledger.request(&one, &[35]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_a_correction_behind_it() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    ledger.request(&one, &[30]).go();
    ledger.pass(10_000);
    let second = ledger.request(&one, &[60]).go();
    assert_eq!(ledger.request(&one, &[30]).no().opens, START_MS + 60_251);
    ledger.close(&second, &End::used(&[80]));
    let refusal = ledger.request(&one, &[30]).no();
    assert_eq!(refusal.opens, START_MS + 70_251);
    ledger.at(refusal.opens);
    ledger.request(&one, &[30]).go();
}

#[test]
fn a_memo_of_a_full_window_does_not_outlive_its_sweep() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 's', 100)]);
    ledger.request(&one, &[20]).go();
    ledger.pass(30_000);
    ledger.request(&one, &[40]).go();
    ledger.pass(1_000);
    ledger.request(&one, &[40]).go();
    // 50 units need the expiry of the 20 and the 40.
    assert_eq!(ledger.request(&one, &[50]).no().opens, START_MS + 90_251);
    ledger.at(START_MS + 61_000);
    // This request finds the 20 expired. Then 50 units need the expiry of both 40s.
    ledger.request(&one, &[5]).go();
    let refusal = ledger.request(&one, &[65]).no();
    assert_eq!(refusal.opens, START_MS + 91_251);
    ledger.at(refusal.opens);
    ledger.request(&one, &[65]).go();
}

#[test]
fn windows_of_1_open_exactly_after_span_and_slack() {
    for (name, kind) in [("rps", 's'), ("rpm", 's'), ("rpd", 's'), ("rps", 'b'), ("rpm", 'b'), ("rpd", 'b')] {
        let mut ledger = TestLedger::new();
        let w = win(name, kind, 1);
        let span = w.span_ms;
        let one = cand("one", &[w]);
        for _ in 0..5 {
            let lease = ledger.request(&one, &[1]).go();
            let refusal = ledger.request(&one, &[1]).no();
            // 1 ms for the rounding of the clock.
            assert_eq!(refusal.opens, lease.granted_ms + span + 250 + 1, "{name} {kind}");
            assert!(refusal.exact);
            ledger.at(refusal.opens - 1);
            ledger.request(&one, &[1]).no();
            ledger.at(refusal.opens);
        }
    }
}

#[test]
fn a_refusal_names_the_later_of_two_windows_and_the_earlier_of_two_candidates() {
    let mut ledger = TestLedger::new();
    let slow = cand("slow", &[win("rpm", 's', 1), win("rpd", 's', 1)]);
    let quick = cand("quick", &[win("rpm", 's', 1)]);
    let both: [(&_, &[i64]); 2] = [(&slow, &[1, 1]), (&quick, &[1])];
    assert_eq!(ledger.admit(&TestClient::default(), &both).go().chosen, 0);
    ledger.pass(5_000);
    assert_eq!(ledger.admit(&TestClient::default(), &both).go().chosen, 1);
    let refusal = ledger.admit(&TestClient::default(), &both).no();
    assert_eq!(refusal.reasons.iter().map(|l| &l.why[..]).collect::<Vec<_>>(), ["rpd", "rpm"]);
    assert_eq!(refusal.reasons[0].opens, START_MS + 86_400_251);
    assert_eq!(refusal.opens, START_MS + 65_251);
    ledger.at(refusal.opens);
    assert_eq!(ledger.admit(&TestClient::default(), &both).go().chosen, 1);
}

#[test]
fn the_clients_quota_alone_can_refuse_and_names_its_own_instant() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 100)]);
    let ann = TestClient::named("ann").with(&[win("rpm", 's', 2)]);
    let ask: [(&_, &[i64]); 1] = [(&one, &[1])];
    ledger.admit(&ann, &ask).go();
    ledger.pass(10_000);
    ledger.admit(&ann, &ask).go();
    let before = ledger.charges();
    let refusal = ledger.admit(&ann, &ask).no();
    assert!(refusal.by_client && refusal.exact);
    assert_eq!((&refusal.reasons[0].why[..], refusal.reasons[0].max, refusal.opens), ("rpm", 2, START_MS + 60_251));
    assert_eq!(ledger.charges(), before);
    ledger.request(&one, &[1]).go();
    ledger.at(refusal.opens);
    ledger.admit(&ann, &ask).go();
}

#[test]
fn a_clients_window_counts_every_admission() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 1_000)]);
    // As a log and as sub-buckets.
    for most in [5, 150] {
        let client = TestClient::named(&format!("of-{most}")).with(&[win("rpm", 's', most)]);
        let first = ledger.now();
        for _ in 0..most {
            ledger.admit(&client, &[(&one, &[1])]).go();
            ledger.pass(7);
        }
        let refusal = ledger.admit(&client, &[(&one, &[1])]).no();
        assert!(refusal.by_client && refusal.opens >= first + 60_000 + SLACK, "{refusal:?}");
        ledger.pass(30_000);
        ledger.admit(&client, &[(&one, &[1])]).no();
        ledger.at(refusal.opens);
        ledger.admit(&client, &[(&one, &[1])]).go();
    }
}

#[test]
fn a_full_last_window_leaves_the_other_windows_uncharged() {
    let mut ledger = TestLedger::new();
    let kinds = [win("rpm", 's', 9), win("rpd", 'b', 9), win("tpd", 'c', 9).in_zone("UTC"), win("concurrency", 'n', 9)];
    let full = cand("one", &[&kinds[..], &[win("tpm", 's', 5)]].concat());
    let ann = TestClient::named("ann").with(&[win("rpm", 's', 9)]);
    ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 5])]).go();
    let before = ledger.charges();
    let refusal = ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 1])]).no();
    assert_eq!(refusal.reasons[0].why, "tpm");
    assert_eq!(ledger.charges(), before);
    ledger.at(refusal.opens);
    ledger.admit(&ann, &[(&full, &[1, 1, 1, 1, 1])]).go();
}

#[test]
fn a_request_that_can_never_fit_is_refused_for_good_and_a_slots_time_is_an_estimate() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("tpm", 'b', 100), win("concurrency", 'n', 1)]);
    assert!(ledger.request(&one, &[101, 1]).no().opens >= NEVER);
    let lease = ledger.request(&one, &[10, 1]).go();
    let refusal = ledger.request(&one, &[10, 1]).no();
    assert!(!refusal.exact, "a slot opens whenever a reply ends: {refusal:?}");
    ledger.close(&lease, &End::default());
    ledger.request(&one, &[10, 1]).go();
}

#[test]
fn a_used_up_daily_bucket_returns_one_unit_every_86_seconds() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpd", 'b', 1_000)]);
    for _ in 0..1_000 {
        ledger.request(&one, &[1]).go();
    }
    let first = ledger.request(&one, &[1]).no().opens;
    assert_eq!(first, START_MS + 251 + 86_400);
    for n in 0..20 {
        ledger.at(first + n * 86_400 - 1);
        ledger.request(&one, &[1]).no();
        ledger.at(first + n * 86_400);
        ledger.request(&one, &[1]).go();
    }
}

#[test]
fn a_used_up_calendar_day_opens_two_seconds_after_midnight() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpd", 'c', 3).in_zone("UTC")]);
    for _ in 0..3 {
        ledger.request(&one, &[1]).go();
    }
    let refusal = ledger.request(&one, &[1]).no();
    let midnight = (START_MS / 86_400_000 + 1) * 86_400_000;
    assert_eq!((refusal.opens, refusal.exact), (midnight + 2_000, true));
    ledger.at(refusal.opens - 2);
    ledger.request(&one, &[1]).no();
    ledger.at(refusal.opens);
    for _ in 0..3 {
        ledger.request(&one, &[1]).go();
    }
    ledger.request(&one, &[1]).no();
}

#[test]
fn a_full_window_is_swept_once_for_all_requests_of_one_size() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 30), win("tpm", 's', 9_000)]);
    for _ in 0..30 {
        ledger.pass(3);
        ledger.request(&one, &[1, 300]).go();
    }
    ledger.request(&one, &[1, 300]).no();
    let head = "return redis.call('HGET', KEYS[1], 'h')";
    let walked: Vec<_> = one.windows.iter().map(|w| ledger.eval(head, &one.window_key(w))).collect();
    ledger.pass(5);
    ledger.request(&one, &[1, 300]).no();
    for (w, before) in one.windows.iter().zip(&walked) {
        assert_eq!(&ledger.eval(head, &one.window_key(w)), before, "a sweep stores its instant in w");
    }
}
