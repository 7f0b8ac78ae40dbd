//! A TIME that jumps against the clocks of replicas: no window is over in true time, and none stands still for longer than its
//! span.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use tollfree::ledger::{engine::Reply, keys::Keys, scripts::Script};

use super::{
    cases,
    oracle::{Count, most_in_any_span},
    rig::{Admit, Cand, Lease, SLACK, START_MS, TestLedger, cand, win},
};

const HOUR_MS: i64 = 3_600_000;
/// How often a replica compares TIME with its own clock.
const PERIOD_MS: i64 = 250;

/// True time, and TIME as the store has it.
#[derive(Default)]
struct Clocks {
    true_ms: Cell<i64>,
    ahead_ms: Cell<i64>,
    epochs: Cell<i64>,
}

/// A replica that watches TIME as the gateway does, with calls that take no time.
struct Watched {
    ledger: TestLedger,
    clocks: Rc<Clocks>,
    /// An instant of the pool, and when it was read in true time.
    reading: Option<(i64, i64)>,
    clk: i64,
    off: i64,
    leases: Vec<Lease>,
}

/// The replicas of a pool.
struct Fleet {
    store: TestLedger,
    clocks: Rc<Clocks>,
    replicas: Vec<Watched>,
    /// True instants of all grants.
    granted: Vec<i64>,
}

struct Synced {
    epoch: String,
    now: i64,
    hold: i64,
    since: i64,
    clk: i64,
    off: i64,
    last: i64,
    is_unsure: bool,
}

impl Watched {
    /// Another replica, or the same one after a restart: without a clock, an epoch or leases.
    fn beside(ledger: &TestLedger, clocks: &Rc<Clocks>) -> Self {
        let (ledger, clocks) = (ledger.another(), clocks.clone());
        let mut replica = Self { ledger, clocks, reading: None, clk: 0, off: 0, leases: Vec::new() };
        replica.sync();
        replica
    }

    fn call_sync(&self, corrected: Option<(i64, i64, i64)>) -> Synced {
        self.clocks.epochs.set(self.clocks.epochs.get() + 1);
        let expected = self.reading.map_or(0, |(pool, at)| pool + self.clocks.true_ms.get() - at);
        let (clk, off, corrected) =
            corrected.map_or((self.clk, self.off, String::new()), |(clk, off, to)| (clk, off, to.to_string()));
        let words = [
            self.ledger.epoch.clone(),
            self.ledger.seq.to_string(),
            format!("watched{}", self.clocks.epochs.get()),
            SLACK.to_string(),
            expected.to_string(),
            format!("{clk} {off}"),
            corrected,
        ];
        let reply = self.ledger.run(Script::Sync, &[Keys::new("judge").meta()], &words.map(Bytes::from));
        let Reply::List(items) = &reply else { panic!("{reply:?}") };
        let number = |at: usize| if let Reply::Int(number) = items[at] { number } else { panic!("{reply:?}") };
        let Reply::Bulk(epoch) = &items[0] else { panic!("{reply:?}") };
        Synced {
            epoch: String::from_utf8(epoch.to_vec()).unwrap(),
            now: number(2),
            hold: number(3),
            since: number(4),
            clk: number(5),
            off: number(6),
            last: number(7),
            is_unsure: number(8) == 1,
        }
    }

    /// Returns for how long nothing is admitted.
    fn sync(&mut self) -> i64 {
        let true_ms = self.clocks.true_ms.get();
        let mut synced = self.call_sync(None);
        if synced.is_unsure {
            let expected = match self.reading {
                Some((pool, at)) => pool + true_ms - at,
                // Nobody knows how much time has passed: at least none.
                None => synced.now.max(synced.last),
            };
            if expected == synced.now {
                self.reading = Some((synced.now, true_ms));
                synced = self.call_sync(None);
            } else {
                synced = self.call_sync(Some((synced.clk, synced.off, synced.off - (synced.now - expected))));
            }
        }
        assert!(!synced.is_unsure, "a correction is accepted");
        self.reading = Some((synced.now, true_ms));
        (self.clk, self.off) = (synced.clk, synced.off);
        let before = std::mem::replace(&mut self.ledger.epoch, synced.epoch);
        if before != self.ledger.epoch && !before.is_empty() {
            let replayed: Vec<_> = self
                .leases
                .iter()
                .filter(|lease| lease.granted_ms >= synced.since)
                .map(|lease| (lease, None))
                .collect();
            self.ledger.repeat_after(&before, &replayed);
        }
        synced.hold
    }
}

impl Fleet {
    fn new(count: usize) -> Self {
        let (store, clocks) = (TestLedger::new(), Rc::new(Clocks::default()));
        clocks.true_ms.set(START_MS);
        let replicas = (0..count).map(|_| Watched::beside(&store, &clocks)).collect();
        Self { store, clocks, replicas, granted: Vec::new() }
    }

    /// A replica ends, and another one starts in its place.
    fn restart(&mut self, replica: usize) {
        self.replicas[replica] = Watched::beside(&self.store, &self.clocks);
    }

    fn set_time(&self) {
        self.store.at(self.clocks.true_ms.get() + self.clocks.ahead_ms.get());
    }

    /// TIME jumps by this.
    fn jump(&self, ms: i64) {
        self.clocks.ahead_ms.set(self.clocks.ahead_ms.get() + ms);
        self.set_time();
    }

    /// True time passes, while all replicas watch TIME.
    fn pass(&mut self, ms: i64) {
        let end = self.clocks.true_ms.get() + ms;
        while self.clocks.true_ms.get() < end {
            self.clocks.true_ms.set(end.min(self.clocks.true_ms.get() + PERIOD_MS));
            self.set_time();
            for replica in &mut self.replicas {
                replica.sync();
            }
        }
    }

    /// One request of a replica, which waits for as long as nothing is admitted. The error is how long it should wait.
    fn request_of(&mut self, replica: usize, on: &Cand) -> Result<(), i64> {
        for _ in 0..8 {
            match self.replicas[replica].ledger.request(on, &vec![1; on.windows.len()]) {
                Admit::Go(lease) => {
                    self.granted.push(self.clocks.true_ms.get());
                    self.replicas[replica].leases.push(lease);
                    return Ok(());
                }
                Admit::No(refusal) => return Err(refusal.opens - refusal.now),
                Admit::Lost => drop(self.replicas[replica].sync()),
                Admit::Hold(ms) => self.pass(ms),
                other => panic!("{other:?}"),
            }
        }
        panic!("neither admitted nor refused");
    }

    fn request(&mut self, on: &Cand) -> Result<(), i64> {
        self.request_of(0, on)
    }

    fn fill(&mut self, on: &Cand) -> usize {
        std::iter::from_fn(|| self.request(on).ok()).count()
    }
}

#[test]
fn a_jump_frees_nothing_and_extends_no_wait() {
    for jump_ms in [2 * HOUR_MS, -2 * HOUR_MS, 90_000, 61_000, 5_000, -600_000, -5_000, 400 * 24 * HOUR_MS] {
        for kind in ['s', 'b'] {
            let mut fleet = Fleet::new(1);
            let one = cand("one", &[win("rpm", kind, 30)]);
            fleet.pass(1_000);
            assert_eq!(fleet.fill(&one), 30, "{kind} {jump_ms}");
            fleet.pass(20_000);
            fleet.fill(&one);
            fleet.jump(jump_ms);
            // A bucket drains a little while nothing is admitted.
            let freed = fleet.fill(&one);
            assert!(freed <= usize::from(kind == 'b'), "{kind} {jump_ms}: {freed}");
            fleet.pass(60_000 + SLACK);
            assert!(fleet.request(&one).is_ok(), "{kind} {jump_ms}: it is free again");
        }
    }
}

#[test]
fn the_instant_that_a_refusal_names_is_true_after_a_jump_back() {
    let mut fleet = Fleet::new(1);
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(fleet.fill(&one), 3);
    fleet.pass(10_000);
    fleet.jump(-2 * HOUR_MS);
    let wait_ms = fleet.request(&one).unwrap_err();
    assert!((49_000..=50_252).contains(&wait_ms), "{wait_ms}");
    fleet.pass(wait_ms - 2);
    assert!(fleet.request(&one).is_err());
    fleet.pass(2);
    assert!(fleet.request(&one).is_ok());
}

#[test]
fn a_long_window_keeps_its_time() {
    let minute_ms = 60_000;
    let mut fleet = Fleet::new(1);
    let one = cand("one", &[win("rph", 's', 5)]);
    assert_eq!(fleet.fill(&one), 5);
    for jump_ms in [20 * minute_ms, -30 * minute_ms, 30 * minute_ms, -40 * minute_ms] {
        fleet.jump(jump_ms);
        fleet.pass(10 * minute_ms);
        assert_eq!(fleet.fill(&one), 0, "{jump_ms}");
    }
    fleet.pass(21 * minute_ms);
    assert!(fleet.request(&one).is_ok(), "an hour has passed");
}

#[test]
fn a_replica_that_starts_while_time_is_behind_goes_on_where_the_pool_was() {
    let mut fleet = Fleet::new(1);
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(fleet.fill(&one), 3);
    // The only replica ends, and starts again after the clock was set back.
    fleet.jump(-HOUR_MS);
    fleet.restart(0);
    assert_eq!(fleet.fill(&one), 0);
    fleet.pass(60_000 + SLACK + 1);
    assert!(fleet.request(&one).is_ok());
}

#[test]
fn an_outage_is_no_jump() {
    let mut fleet = Fleet::new(1);
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(fleet.fill(&one), 3);
    let epoch = fleet.replicas[0].ledger.epoch.clone();
    // No call reaches the store for a minute and more.
    fleet.clocks.true_ms.set(fleet.clocks.true_ms.get() + 61_000);
    fleet.set_time();
    assert!(fleet.request(&one).is_ok());
    assert_eq!(fleet.replicas[0].ledger.epoch, epoch, "nothing was lost, and nothing is replayed");
}

#[test]
fn one_replica_corrects_the_time_for_all() {
    let mut fleet = Fleet::new(2);
    let one = cand("one", &[win("rpm", 's', 30)]);
    for n in 0..20 {
        fleet.request_of(n % 2, &one).unwrap();
    }
    fleet.jump(2 * HOUR_MS);
    assert_eq!(fleet.fill(&one), 10);
    let [here, there] = &fleet.replicas[..] else { panic!("two replicas") };
    assert_eq!((here.off, here.clk, there.clk), (there.off, 1, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Burst { replica: usize, n: usize },
    Jump(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![1_100..120_000_i64, 120_000..10_000_000_i64];
    prop_oneof![
        4 => (1..30_000_i64).prop_map(Step::Pass),
        4 => (0..2_usize, 1..12_usize).prop_map(|(replica, n)| Step::Burst { replica, n }),
        2 => (by, any::<bool>()).prop_map(|(ms, back)| Step::Jump(if back { -ms } else { ms })),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(cases(40))]

    /// The provider's own clock does not jump.
    #[test]
    fn no_history_of_jumps_is_over_in_true_time(
        steps in vec(step(), 1..30), max in 1..20_i64, kind in prop_oneof![Just('s'), Just('b')],
    ) {
        let one = cand("one", &[win("rpm", kind, max)]);
        let mut fleet = Fleet::new(2);
        fleet.pass(500);
        for step in steps {
            match step {
                Step::Pass(ms) => fleet.pass(ms),
                Step::Burst { replica, n } => {
                    for _ in 0..n {
                        let _ = fleet.request_of(replica, &one);
                    }
                }
                Step::Jump(ms) => {
                    // A window that is as new as the epoch counts its charges twice.
                    fleet.pass(1);
                    fleet.pass(1);
                    fleet.jump(ms);
                }
                // Only the leases of a replica that lives can be replayed, so that they go to the other one.
                Step::Restart => {
                    let leases = std::mem::take(&mut fleet.replicas[1].leases);
                    fleet.replicas[0].leases.extend(leases);
                    fleet.replicas[0].sync();
                    fleet.restart(1);
                }
            }
        }
        let counts: Vec<Count> = fleet.granted.iter()
            .map(|at| Count { at: at * 1_000, units: 1, ended: i64::MAX, used: 1 }).collect();
        if kind == 's' {
            let most = most_in_any_span(&counts, 60_000_000);
            prop_assert!(most <= max, "{most} of {max}");
        } else {
            // A bucket: never more than its capacity and what has drained since.
            for (i, from) in counts.iter().enumerate() {
                for (n, to) in counts[i..].iter().enumerate() {
                    let drained = (to.at - from.at) * max / 60_000_000;
                    prop_assert!(i64::try_from(n).unwrap() <= max + drained, "{n} units within {} µs", to.at - from.at);
                }
            }
        }
        fleet.pass(60_000 + SLACK + 1_000);
        prop_assert!(fleet.request(&one).is_ok(), "it stands still");
    }
}
