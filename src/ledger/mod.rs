//! ③⑥ The budget all replicas share. Decides nothing itself: every decision is one of the scripts in `lua/`.
//!
//! [`Ledger::admit`] reserves for one candidate out of many in one atomic step and answers with a [`Lease`];
//! a lease is settled once, by whoever saw the end of the call. Rules and constants: the headers of `lua/*.lua`.

pub mod admission;
mod admit;
pub mod audit;
mod beat;
pub mod budget;
pub mod clients;
mod control;
pub mod embedded;
pub(crate) mod epoch;
pub mod guesses;
pub mod host;
pub mod journal;
pub mod keys;
pub mod lease;
mod line;
pub mod members;
mod numbers;
mod pack;
mod packed;
pub mod record;
pub mod redis;
pub mod rollup;
pub mod scripts;
pub mod sessions;
mod standing;
mod told;
pub mod uses;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

pub use self::{
    admission::{Admission, Ask, ClientStanding, LedgerError, Refusal, RefusalLine, RefusedBy, WindowStanding},
    audit::{AuditEntry, By},
    clients::ChangeError,
    journal::{JournalLine, LineId, Page, PassedOver, Reading, Totals, Tried},
    lease::Lease,
    members::EntryError,
};
use self::{epoch::Known, host::ScriptHost, keys::Keys};
use crate::{
    catalog::Current,
    domain::{Candidate, Standing},
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
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    host: Arc<dyn ScriptHost>,
    rules: Rules,
    keys: Keys,
    packed: packed::Book,
    tasks: Tasks,
    catalog: Current,
    /// What this replica knows of the state behind the host, and the leases it could repeat.
    known: Mutex<Known>,
    standing: ArcSwap<Standing>,
    /// One `sync` at a time.
    syncing: tokio::sync::Mutex<()>,
    pending: lease::Pending,
    /// Who of this replica's callers waits in line.
    waiters: line::Waiters,
    members: members::Book,
    guesses: guesses::Alone,
    told: guesses::Told,
    sessions: sessions::SessionsSeen,
    /// `fails wins open_ms`, as `settle` reads it.
    breaker_rules: Bytes,
    /// σ, in words.
    slack_ms: Bytes,
    /// Ids of leases: this process, and a number.
    replica: String,
    issued: AtomicU64,
    ready: AtomicBool,
    reachable: AtomicBool,
}

impl Ledger {
    /// Starts the background work: renewals, the look at the whole pool once a second, the watch on the epoch.
    pub fn start(host: Arc<dyn ScriptHost>, rules: Rules, catalog: Current, tasks: Tasks) -> Self {
        let ledger = Self::idle(host, rules, catalog, tasks);
        epoch::watch(&ledger);
        standing::watch(&ledger);
        lease::renew_all(&ledger);
        beat::watch(&ledger);
        line::watch(&ledger);
        members::keep_used(&ledger);
        ledger
    }

    /// Without any background work: for a command that reads or changes a little. It must not admit.
    pub fn idle(host: Arc<dyn ScriptHost>, rules: Rules, catalog: Current, tasks: Tasks) -> Self {
        let keys = Keys::new(&rules.pool);
        let slack_ms = Bytes::from(rules.slack_ms.to_string());
        let breaker_rules =
            Bytes::from(format!("{} {} {}", rules.failure_threshold, rules.success_threshold, rules.open_ms));
        let shared = Arc::new(Shared {
            host,
            rules,
            keys,
            packed: packed::Book::default(),
            tasks,
            catalog,
            known: Mutex::new(Known::default()),
            standing: ArcSwap::from_pointee(Standing::default()),
            syncing: tokio::sync::Mutex::new(()),
            pending: lease::Pending::default(),
            waiters: line::Waiters::default(),
            members: members::Book::default(),
            guesses: guesses::Alone::default(),
            told: guesses::Told::default(),
            sessions: sessions::SessionsSeen::default(),
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
    pub fn standing(&self) -> Arc<Standing> {
        self.shared.standing.load_full()
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
    pub fn outside(&self, candidate: &Arc<Candidate>) -> Lease {
        Lease::outside(candidate.clone())
    }
}

/// How long a caller is told to wait when the ledger cannot be reached.
pub(crate) const OUTAGE_RETRY_MS: i64 = 1_000;
