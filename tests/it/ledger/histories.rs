//! Histories that are known to break ledgers of this kind, with the figures that exposed them.

use super::{
    oracle::{self, Count},
    rig::{Cand, SLACK, START_MS, TestLedger, Win, cand, win},
    world::{World, assert_within_limits},
};

/// A burst of the whole limit. Calls arrive immediately or after the whole slack.
fn burst(world: &mut World, on: &Cand, units: i64, latest: bool) {
    for _ in 0..on.windows[0].max {
        let Some(lease) = admitted(&mut world.ledger, on, &vec![units; on.windows.len()]) else { return };
        let late = if latest || world.dice.one_in(2) { SLACK * 1000 } else { 0 };
        let arrived = world.ledger.now_us() + late;
        world.note(lease, arrived);
    }
}

fn admitted(ledger: &mut TestLedger, on: &Cand, units: &[i64]) -> Option<super::rig::Lease> {
    match ledger.request(on, units) {
        super::rig::Admit::Go(lease) => Some(lease),
        _ => None,
    }
}

#[test]
fn bursts_at_clock_minutes_sub_bucket_ends_and_named_instants_stay_within_the_limit() {
    for w in [win("rpm", 's', 30), win("rpm", 's', 600), win("rpm", 'b', 30), win("rpm", 'b', 600)] {
        for seed in 0..4 {
            let one = cand("one", std::slice::from_ref(&w));
            let mut world = World::new(std::slice::from_ref(&one), seed);
            let end = START_MS + 12 * 60_000;
            while world.ledger.now() < end {
                let now = world.ledger.now_us();
                let minute = (now / 60_000_000 + 1) * 60_000_000 + world.dice.roll(-1_000, 1_001);
                let bucket = (now / 468_750 + 1) * 468_750 + world.dice.roll(-1, 2);
                let named = match world.ledger.request(&one, &[1]) {
                    super::rig::Admit::No(refusal) => refusal.opens * 1000,
                    super::rig::Admit::Go(lease) => {
                        world.note(lease, now);
                        now + 1
                    }
                    other => panic!("{other:?}"),
                };
                let next = *world.dice.pick(&[minute, bucket, named, named]);
                world.ledger.set_us(next.max(now));
                let latest = world.dice.one_in(2);
                burst(&mut world, &one, 1, latest);
            }
            world.assert_within_limits();
        }
    }
}

#[test]
fn retries_at_the_instant_of_another_window_do_not_overfill_a_bucket() {
    for seed in 0..10 {
        let bucket = win("rpm", 'b', 30).account_wide();
        let waits = cand("one", &[bucket.clone(), win("tpm", 's', 100)]).with("waits", "x");
        let other = cand("one", &[bucket]).with("other", "x");
        let mut world = World::new(&[waits.clone(), other.clone()], seed);
        let first = world.ledger.request(&waits, &[1, 100]).go();
        let now = world.ledger.now_us();
        world.note(first, now);
        // Twenty requests are refused for 40 s.
        world.ledger.pass(20_250);
        let named: Vec<i64> = (0..20).map(|_| world.ledger.request(&waits, &[1, 4]).no().opens).collect();
        assert!(named.iter().all(|e| *e == START_MS + 60_251));
        world.ledger.at(named[0] - world.dice.roll(0, 10_000));
        for _ in 0..30 {
            world.request(1, &[1]);
        }
        world.ledger.at(named[0]);
        for _ in 0..20 {
            world.request(0, &[1, 4]);
        }
        for _ in 0..30 {
            world.request(1, &[1]);
        }
        world.assert_within_limits();
    }
}

/// Calls that reserve 3000 of 8000, use 300 and take 0.3 to 25 s, in alternating quiet and busy periods.
fn reserves(w: &Win, seed: u64) -> World {
    let mut world = World::new(&[cand("one", std::slice::from_ref(w))], seed);
    let end = START_MS + 15 * 60_000;
    let mut ends: Vec<(i64, usize)> = Vec::new();
    while world.ledger.now() < end {
        let busy = (world.ledger.now() / 90_000) % 2 == 0;
        let gap = if busy { 400 } else { 9_000 };
        let us = world.dice.roll(1, gap * 2_000);
        world.pass_us(us);
        let now = world.ledger.now();
        for (at, i) in std::mem::take(&mut ends) {
            if at > now {
                ends.push((at, i));
            } else if world.dice.one_in(20) {
                world.settle(i, None);
            } else {
                world.settle(i, Some(vec![300]));
            }
        }
        let before = world.calls.len();
        world.request(0, &[3_000]);
        if world.calls.len() > before {
            ends.push((now + SLACK + world.dice.roll(50, 24_750), before));
        }
    }
    world
}

#[test]
fn reservations_of_ten_times_the_use_never_exceed_a_bucket_or_a_sliding_window() {
    for seed in 0..12 {
        reserves(&win("tpm", 'b', 8_000), seed).assert_within_limits();
        reserves(&win("tpm", 's', 8_000), seed).assert_within_limits();
    }
}

#[test]
fn replies_of_1_to_40_s_debited_at_their_end_stay_within_the_minute() {
    let mut overs = 0;
    for seed in 0..8 {
        let w = win("tpm", 'm', 25_000);
        let mut world = World::new(&[cand("one", std::slice::from_ref(&w))], seed);
        let mut ends: Vec<(i64, usize)> = Vec::new();
        while world.ledger.now() < START_MS + 15 * 60_000 {
            let us = world.dice.roll(1, 800_000);
            world.pass_us(us);
            let now = world.ledger.now();
            for (at, i) in std::mem::take(&mut ends) {
                if at > now { ends.push((at, i)) } else { world.settle(i, Some(vec![-1])) }
            }
            let (before, units) = (world.calls.len(), world.dice.roll(200, 2_000));
            world.request(0, &[units]);
            if world.calls.len() > before {
                ends.push((now + SLACK + world.dice.roll(1_000, 40_000), before));
            }
        }
        for i in world.open_calls() {
            world.die(i);
        }
        world.assert_within_limits();
        // Counted at its charges, the same history would be over the limit: the debits at the ends matter.
        let (_, counts) = world.counts().into_values().next().unwrap();
        overs += i64::from(
            oracle::most_in_any_span(&counts, 60_000_000) != oracle::most_debited_in_any_span(&counts, 60_000_000),
        );
    }
    assert!(overs > 0);
}

/// The regular `sync` of every replica, which keeps the pool known.
fn watch(ledger: &mut TestLedger) {
    let hold = ledger.sync().hold;
    ledger.pass(hold);
}

/// Requests around midnights, including those of days with 23 and 25 hours.
fn around_midnights(zone: &str, from_ms: i64, days: i64, kind: &str) {
    for seed in 0..3 {
        let one = cand("one", &[win(kind, 'c', 40).in_zone(zone)]);
        let mut world = World::new(std::slice::from_ref(&one), seed);
        world.ledger.at(from_ms);
        watch(&mut world.ledger);
        for _ in 0..days {
            let next = one.windows[0].zone.as_ref().unwrap().boundaries(one.windows[0].limit, world.ledger.now()).next;
            for part in
                [-40_000_000, -3_000, -2_251, -2_250, -2_001, -1_500, -1, 0, 1, 1_499, 1_999, 2_000, 2_001, 3_000]
            {
                if next + part < world.ledger.now() {
                    continue;
                }
                let us = (next + part) * 1000 + world.dice.roll(0, 1_000);
                world.ledger.set_us(us.max(world.ledger.now_us()));
                for _ in 0..world.dice.roll(0, 45) {
                    world.request(0, &[1]);
                }
            }
            // The rest of the day's units is used to the last one.
            burst(&mut world, &one, 1, true);
            world.ledger.at(next + 3_600_000);
        }
        world.assert_within_limits();
        let (_, counts) = world.counts().into_values().next().unwrap();
        assert_eq!(oracle::most_in_a_day(&counts, zone, 0), 40, "a whole day can be used");
    }
}

#[test]
fn days_of_23_24_and_25_hours_hold_with_a_clock_off_by_a_second_and_a_half() {
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    around_midnights("America/Los_Angeles", at("2027-03-12T20:00:00Z"), 5, "rpd");
    around_midnights("America/Los_Angeles", at("2027-11-05T20:00:00Z"), 5, "rpd");
    around_midnights("Europe/Berlin", at("2027-03-26T20:00:00Z"), 5, "rpd");
    around_midnights("Pacific/Kiritimati", START_MS, 3, "rpd");
    around_midnights("Asia/Kathmandu", START_MS, 3, "rpd");
}

#[test]
fn a_month_ends_at_the_first_midnight_of_the_next_in_the_zone() {
    let w = win("rpmonth", 'c', 50).in_zone("America/Los_Angeles");
    let one = cand("one", &[w]);
    let mut world = World::new(std::slice::from_ref(&one), 1);
    for days in 0..70 {
        world.ledger.at(START_MS + days * 86_400_000);
        watch(&mut world.ledger);
        for _ in 0..3 {
            world.request(0, &[1]);
        }
    }
    let tz = jiff::tz::TimeZone::get("America/Los_Angeles").unwrap();
    let mut sums = std::collections::BTreeMap::new();
    for call in &world.calls {
        let at = jiff::Timestamp::from_microsecond(call.arrived.unwrap()).unwrap().to_zoned(tz.clone());
        *sums.entry((at.year(), at.month())).or_insert(0) += 1;
    }
    assert_eq!(sums.into_values().collect::<Vec<_>>(), [50, 50, 50]);
}

#[test]
fn outdated_boundaries_are_rejected_before_any_charge() {
    let mut ledger = TestLedger::new();
    let one = cand("one", &[win("rpm", 's', 1), win("rpd", 'c', 10)]);
    // The boundaries of a replica that was suspended for three days.
    let day = 86_400_000;
    let midnight = START_MS / day * day;
    let stale = one.with_stale_span(1, &format!("{},{},{}", midnight - 3 * day, midnight - 2 * day, midnight - day));
    assert!(matches!(ledger.request(&stale, &[1, 1]), super::rig::Admit::Stale));
    assert_eq!(ledger.charges().len(), 0);
    let fresh = stale.with_stale_span(1, &format!("{},{},{}", midnight, midnight + day, midnight + 2 * day));
    ledger.request(&fresh, &[1, 1]).go();
    // This holds even if another window refuses too, because the refusal would name a wrong time.
    assert!(matches!(ledger.request(&stale, &[1, 1]), super::rig::Admit::Stale));
}

/// Checks the oracle without the ledger: it detects a list of charges that is over the limit.
#[test]
fn the_oracle_detects_overruns() {
    let count = |at: i64| Count { at: at * 1000, units: 1, ended: i64::MAX, used: 1 };
    let over = |w: &Win, at: &[i64]| {
        let counts: Vec<Count> = at.iter().map(|at| count(*at)).collect();
        std::panic::catch_unwind(|| assert_within_limits("w", w, &counts)).is_err()
    };
    assert!(over(&win("rpm", 's', 2), &[0, 1, 59_999]));
    assert!(!over(&win("rpm", 's', 2), &[0, 1, 60_000]));
    assert!(over(&win("rpm", 'b', 2), &[0, 1, 29_999]));
    assert!(!over(&win("rpm", 'b', 2), &[0, 1, 30_000]));
    assert!(over(&win("tpm", 'm', 2), &[0, 1, 59_999]));
    let day = win("rpd", 'c', 1).in_zone("UTC");
    assert!(over(&day, &[START_MS, START_MS + 1_000]));
    assert!(over(&win("concurrency", 'n', 1), &[0, 1]));
}
