//! The ledger's handle and the state behind it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::ledger::{
    admission::{
        epoch::Known,
        lease::{Lease, Pending},
        queue::Waiters,
    },
    clients::{
        login_throttle::{Alone, Told},
        lookup::Book,
        sessions::SessionsSeen,
    },
    script::{args, engine::ScriptEngine, keys::Keys},
};
use crate::{
    catalog::Current,
    domain::{Candidate, PoolSnapshot},
    shutdown::Tasks,
};

/// What the rules need from the operator's settings.
#[derive(Debug, Clone)]
pub struct Rules {
    /// One pool is one Redis hash slot.
    pub pool: String,
    /// σ: how late a call may reach its provider after its admission, ms.
    pub slack_ms: i64,
    /// Failures in a row that open a breaker.
    pub failure_threshold: u32,
    /// Successes in a row, of probes, that close it.
    pub success_threshold: u32,
    /// How long it stays open, ms.
    pub open_ms: i64,
}

/// The door to the shared budget. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    pub(super) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(super) host: Arc<dyn ScriptEngine>,
    pub(super) rules: Rules,
    pub(super) keys: Keys,
    pub(super) packed: args::Book,
    pub(super) tasks: Tasks,
    pub(super) catalog: Current,
    /// What this replica knows of the state behind the host, and the leases it could repeat.
    pub(super) known: Mutex<Known>,
    pub(super) snapshot: ArcSwap<PoolSnapshot>,
    /// One `sync` at a time.
    pub(super) syncing: tokio::sync::Mutex<()>,
    pub(super) pending: Pending,
    /// Who of this replica's callers waits in line.
    pub(super) waiters: Waiters,
    pub(super) members: Book,
    pub(super) guesses: Alone,
    pub(super) told: Told,
    pub(super) sessions: SessionsSeen,
    /// `fails wins open_ms`, as `settle` reads it.
    pub(super) breaker_rules: Bytes,
    /// σ, in words.
    pub(super) slack_ms: Bytes,
    /// Ids of leases: this process, and a number.
    pub(super) replica: String,
    pub(super) issued: AtomicU64,
    pub(super) ready: AtomicBool,
    pub(super) reachable: AtomicBool,
}

impl Ledger {
    /// Without any background work: for a command that reads or changes a little. It must not admit.
    pub fn without_tasks(host: Arc<dyn ScriptEngine>, rules: Rules, catalog: Current, tasks: Tasks) -> Self {
        let keys = Keys::new(&rules.pool);
        let slack_ms = Bytes::from(rules.slack_ms.to_string());
        let breaker_rules =
            Bytes::from(format!("{} {} {}", rules.failure_threshold, rules.success_threshold, rules.open_ms));
        let shared = Arc::new(Shared {
            host,
            rules,
            keys,
            packed: args::Book::default(),
            tasks,
            catalog,
            known: Mutex::new(Known::default()),
            snapshot: ArcSwap::from_pointee(PoolSnapshot::default()),
            syncing: tokio::sync::Mutex::new(()),
            pending: Pending::default(),
            waiters: Waiters::default(),
            members: Book::default(),
            guesses: Alone::default(),
            told: Told::default(),
            sessions: SessionsSeen::default(),
            breaker_rules,
            slack_ms,
            replica: uuid::Uuid::new_v4().simple().to_string()[..16].to_owned(),
            issued: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            reachable: AtomicBool::new(false),
        });
        Self { shared }
    }

    /// What the pool looked like within the last second or so; for planning and status only.
    pub fn snapshot(&self) -> Arc<PoolSnapshot> {
        self.shared.snapshot.load_full()
    }

    /// It has answered once.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }

    /// Its last call was answered.
    pub fn is_reachable(&self) -> bool {
        self.shared.reachable.load(Ordering::Relaxed)
    }

    /// Callers of this replica that wait in line.
    pub fn waiting(&self) -> usize {
        self.shared.waiters.count()
    }

    /// A lease for a candidate without any limit while the ledger is away: nothing is written, nothing is settled.
    pub fn unmetered(&self, candidate: &Arc<Candidate>) -> Lease {
        Lease::unmetered(candidate.clone())
    }
}
