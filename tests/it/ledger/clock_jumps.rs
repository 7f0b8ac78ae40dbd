//! A TIME that jumps against the clocks of replicas: no window is over in true time, and none stands still for longer than its
//! span.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

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
    /// True instants of all grants of all replicas.
    granted: Rc<RefCell<Vec<i64>>>,
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
    fn new() -> Self {
        let (ledger, clocks) = (TestLedger::new(), Rc::new(Clocks::default()));
        clocks.true_ms.set(START_MS);
        let mut first =
            Self { ledger, clocks, reading: None, clk: 0, off: 0, leases: Vec::new(), granted: Rc::default() };
        first.sync();
        first
    }

    /// Another replica, or the same one after a restart: without a clock, an epoch or leases.
    fn another(&self) -> Self {
        let (clocks, granted) = (self.clocks.clone(), self.granted.clone());
        let ledger = self.ledger.another();
        let mut other = Self { ledger, clocks, reading: None, clk: 0, off: 0, leases: Vec::new(), granted };
        other.sync();
        other
    }

    fn set_time(&self) {
        self.ledger.at(self.clocks.true_ms.get() + self.clocks.ahead_ms.get());
    }

    /// TIME jumps by this.
    fn jump(&self, ms: i64) {
        self.clocks.ahead_ms.set(self.clocks.ahead_ms.get() + ms);
        self.set_time();
    }

    fn pass(&mut self, ms: i64) {
        let end = self.clocks.true_ms.get() + ms;
        while self.clocks.true_ms.get() < end {
            self.clocks.true_ms.set(end.min(self.clocks.true_ms.get() + PERIOD_MS));
            self.set_time();
            self.sync();
        }
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
            self.ledger.repeat(&replayed);
        }
        synced.hold
    }

    /// One request, which waits for as long as nothing is admitted.
    fn request(&mut self, on: &Cand) -> Result<(), i64> {
        for _ in 0..8 {
            match self.ledger.request(on, &vec![1; on.windows.len()]) {
                Admit::Go(lease) => {
                    self.granted.borrow_mut().push(self.clocks.true_ms.get());
                    self.leases.push(lease);
                    return Ok(());
                }
                Admit::No(refusal) => return Err(refusal.opens - refusal.now),
                Admit::Lost => drop(self.sync()),
                Admit::Hold(ms) => self.pass(ms),
                other => panic!("{other:?}"),
            }
        }
        panic!("neither admitted nor refused");
    }

    fn fill(&mut self, on: &Cand) -> usize {
        std::iter::from_fn(|| self.request(on).ok()).count()
    }
}

#[test]
fn a_jump_frees_nothing_and_extends_no_wait() {
    for jump_ms in [2 * HOUR_MS, -2 * HOUR_MS, 90_000, 61_000, 5_000, -600_000, -5_000, 400 * 24 * HOUR_MS] {
        for kind in ['s', 'b'] {
            let mut replica = Watched::new();
            let one = cand("one", &[win("rpm", kind, 30)]);
            replica.pass(1_000);
            assert_eq!(replica.fill(&one), 30, "{kind} {jump_ms}");
            replica.pass(20_000);
            let before = replica.fill(&one);
            replica.jump(jump_ms);
            assert_eq!(replica.fill(&one), 0, "{kind} {jump_ms}: nothing is free after {before}");
            replica.pass(60_000 + SLACK);
            assert!(replica.request(&one).is_ok(), "{kind} {jump_ms}: it is free after its span");
        }
    }
}

#[test]
fn the_instant_that_a_refusal_names_is_true_after_a_jump_back() {
    let mut replica = Watched::new();
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(replica.fill(&one), 3);
    replica.pass(10_000);
    replica.jump(-2 * HOUR_MS);
    let wait_ms = replica.request(&one).unwrap_err();
    assert!((49_000..=50_252).contains(&wait_ms), "{wait_ms}");
    replica.pass(wait_ms - 2);
    assert!(replica.request(&one).is_err());
    replica.pass(2);
    assert!(replica.request(&one).is_ok());
}

#[test]
fn a_breaker_and_a_long_window_keep_their_times() {
    let mut replica = Watched::new();
    let one = cand("one", &[win("rpd", 's', 5)]);
    assert_eq!(replica.fill(&one), 5);
    for jump_ms in [HOUR_MS, -3 * HOUR_MS, 5 * HOUR_MS, -3 * HOUR_MS] {
        replica.jump(jump_ms);
        replica.pass(HOUR_MS);
        assert_eq!(replica.fill(&one), 0);
    }
    replica.pass(20 * HOUR_MS + 1_000_000);
    assert!(replica.request(&one).is_ok(), "a day has passed");
}

#[test]
fn a_replica_that_starts_while_time_is_behind_goes_on_where_the_pool_was() {
    let mut replica = Watched::new();
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(replica.fill(&one), 3);
    // The only replica ends, and starts again after the clock was set back.
    replica.jump(-HOUR_MS);
    let mut again = replica.another();
    assert_eq!(again.fill(&one), 0);
    again.pass(60_000 + SLACK + 1);
    assert!(again.request(&one).is_ok());
}

#[test]
fn an_outage_is_no_jump() {
    let mut replica = Watched::new();
    let one = cand("one", &[win("rpm", 's', 3)]);
    assert_eq!(replica.fill(&one), 3);
    let epoch = replica.ledger.epoch.clone();
    // No call reaches the store for a minute and more.
    replica.clocks.true_ms.set(replica.clocks.true_ms.get() + 61_000);
    replica.set_time();
    assert!(replica.request(&one).is_ok());
    assert_eq!(replica.ledger.epoch, epoch, "nothing was lost, and nothing is replayed");
}

#[test]
fn one_replica_corrects_the_time_for_all() {
    let mut here = Watched::new();
    let mut there = here.another();
    let one = cand("one", &[win("rpm", 's', 30)]);
    for _ in 0..10 {
        here.request(&one).unwrap();
        there.request(&one).unwrap();
    }
    here.jump(2 * HOUR_MS);
    assert_eq!(there.fill(&one), 10);
    assert_eq!(here.fill(&one), 0);
    assert_eq!((here.off, here.clk), (there.off, there.clk));
    assert_eq!(here.clk, 1);
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
    #![proptest_config(cases(150))]

    /// The provider's own clock does not jump.
    #[test]
    fn no_history_of_jumps_is_over_in_true_time(
        steps in vec(step(), 1..40), max in 1..20_i64, kind in prop_oneof![Just('s'), Just('b')],
    ) {
        let one = cand("one", &[win("rpm", kind, max)]);
        let mut first = Watched::new();
        let second = first.another();
        first.pass(500);
        let mut replicas = [first, second];
        for step in steps {
            match step {
                Step::Pass(ms) => {
                    for _ in 0..ms / PERIOD_MS + 1 {
                        replicas[0].pass(PERIOD_MS.min(ms));
                        replicas[1].sync();
                    }
                }
                Step::Burst { replica, n } => {
                    for _ in 0..n {
                        let _ = replicas[replica].request(&one);
                        replicas[1 - replica].sync();
                    }
                }
                Step::Jump(ms) => replicas[0].jump(ms),
                // Its leases are gone with it, so the other one has to have them for a replay.
                Step::Restart => {
                    let leases = std::mem::take(&mut replicas[1].leases);
                    replicas[0].sync();
                    replicas[1] = replicas[0].another();
                    replicas[1].leases = leases;
                }
            }
        }
        let counts: Vec<Count> = replicas[0].granted.borrow().iter()
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
        replicas[0].pass(60_000 + SLACK + 1_000);
        prop_assert!(replicas[0].request(&one).is_ok(), "it stands still");
    }
}
