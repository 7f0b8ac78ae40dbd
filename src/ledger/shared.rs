//! The handle of the ledger, and the state behind it that all parts of this room share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use super::{
    admission::{
        epoch::EpochState, known_refusals::KnownRefusals, lease_state::PendingWrites, outage_queue::OutageQueue,
        waiters::Waiters,
    },
    clients::{
        cache::{ClientCache, SessionCache},
        login_counter::{LocalCounter, Reported},
    },
    discovery::findings::{Allowances, Findings},
    error::LedgerError,
    provider_keys::state::ProviderKeyState,
    script::{
        args::ArgCache,
        engine::{EngineError, Reply, ScriptCall, ScriptEngine},
        keys::Keys,
    },
};
use crate::{catalog::Current, domain::PoolSnapshot, shutdown::Tasks};

/// Settings of the operator that the scripts need.
#[derive(Debug, Clone)]
pub struct Rules {
    /// One pool is one Redis hash slot.
    pub pool: String,
    /// σ: the most time between an admission and the arrival of its call at the provider.
    pub slack_ms: i64,
    /// Consecutive failures that open a breaker.
    pub failure_threshold: u32,
    /// Consecutive successes of probes that close it.
    pub success_threshold: u32,
    /// How long a breaker stays open.
    pub open_ms: i64,
    /// The most requests that wait in this replica for a ledger that cannot be reached.
    pub outage_requests: usize,
}

/// The handle of the shared budget. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    pub(super) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(super) engine: Arc<dyn ScriptEngine>,
    pub(super) keys: Keys,
    pub(super) args: ArgCache,
    pub(super) tasks: Tasks,
    pub(super) catalog: Current,
    epoch: Mutex<EpochState>,
    pub(super) snapshot: ArcSwap<PoolSnapshot>,
    /// Held during a `sync`.
    pub(super) syncing: tokio::sync::Mutex<()>,
    pub(super) pending: PendingWrites,
    pub(super) waiters: Arc<Waiters>,
    pub(super) known_refusals: KnownRefusals,
    pub(super) outage_queue: Arc<OutageQueue>,
    /// Why the last call failed, in this outage or an earlier one.
    away_cause: Mutex<Option<String>>,
    pub(super) clients: ClientCache,
    pub(super) login_counter: LocalCounter,
    pub(super) reported_logins: Reported,
    pub(super) sessions: SessionCache,
    pub(super) provider_keys: ProviderKeyState,
    /// As last read.
    pub(super) findings: watch::Sender<Arc<Findings>>,
    pub(super) allowances: ArcSwap<Allowances>,
    /// `failures successes open_ms`, an argument of `settle`.
    pub(super) breaker_rules: Bytes,
    /// [`Rules::slack_ms`] as an argument.
    pub(super) slack_ms: Bytes,
    pub(super) slack: Duration,
    /// The prefix of this process's lease ids.
    pub(super) replica: String,
    /// Number of lease ids that were made.
    pub(super) issued: AtomicU64,
    ready: AtomicBool,
    reachable: AtomicBool,
}

impl Ledger {
    /// A ledger without background tasks, for a command that reads or changes a little. It must not admit.
    pub fn without_tasks(engine: Arc<dyn ScriptEngine>, rules: &Rules, catalog: Current, tasks: Tasks) -> Self {
        let Rules { pool, slack_ms, failure_threshold, success_threshold, open_ms, outage_requests } = rules;
        let shared = Arc::new(Shared {
            engine,
            keys: Keys::new(pool),
            args: ArgCache::default(),
            tasks,
            catalog,
            epoch: Mutex::default(),
            snapshot: ArcSwap::default(),
            syncing: tokio::sync::Mutex::default(),
            pending: PendingWrites::default(),
            waiters: Arc::default(),
            known_refusals: KnownRefusals::default(),
            outage_queue: Arc::new(OutageQueue::new(*outage_requests)),
            away_cause: Mutex::default(),
            clients: ClientCache::default(),
            login_counter: LocalCounter::default(),
            reported_logins: Reported::default(),
            sessions: SessionCache::default(),
            provider_keys: ProviderKeyState::default(),
            findings: watch::Sender::default(),
            allowances: ArcSwap::default(),
            breaker_rules: Bytes::from(format!("{failure_threshold} {success_threshold} {open_ms}")),
            slack_ms: Bytes::from(slack_ms.to_string()),
            slack: Duration::from_millis(u64::try_from(*slack_ms).unwrap_or(0)),
            replica: uuid::Uuid::new_v4().simple().to_string()[..16].to_owned(),
            issued: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            reachable: AtomicBool::new(false),
        });
        Self { shared }
    }

    /// The pool as it was about a second ago, for planning and status only.
    pub fn snapshot(&self) -> Arc<PoolSnapshot> {
        self.shared.snapshot.load_full()
    }

    /// The ledger's time as estimated by this replica.
    pub fn now_ms(&self) -> i64 {
        self.shared.epoch().now_ms()
    }

    /// Whether any call has succeeded yet.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }

    /// Since when the ledger cannot be reached, by this replica's clock.
    pub fn away_since(&self) -> Option<jiff::Timestamp> {
        self.shared.outage_queue.away_since()
    }

    /// Why the ledger cannot be reached, while it cannot.
    pub fn away_cause(&self) -> Option<String> {
        self.away_since().and_then(|_| self.shared.away_cause.lock().clone())
    }

    /// Requests of this replica that wait until the ledger can be reached.
    pub fn requests_held(&self) -> usize {
        self.shared.outage_queue.held()
    }

    /// Whether the last call succeeded.
    pub fn is_reachable(&self) -> bool {
        self.shared.reachable.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn epoch(&self) -> MutexGuard<'_, EpochState> {
        self.epoch.lock()
    }

    /// Runs a script that does not depend on the epoch, and loads it first if the engine does not know it.
    pub(super) async fn run(&self, call: &ScriptCall) -> Result<Reply, LedgerError> {
        let sent = Instant::now();
        self.note(sent, self.engine.run(call, true).await)
    }

    /// Admits nothing for this time, while leases are replayed. Requests that wait are then sent in order of arrival.
    pub(super) fn hold_admissions(&self, ms: i64) {
        let time = Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1);
        self.outage_queue.hold(time);
        self.resume_after(time);
    }

    fn resume_after(&self, time: Duration) {
        let queue = self.outage_queue.clone();
        self.tasks.spawn_endless(async move {
            tokio::time::sleep(time + Duration::from_millis(1)).await;
            queue.resume();
        });
    }

    /// Updates the reachability from the result of a call that was sent at this instant, and logs when it changes.
    pub(super) fn note<T>(&self, sent: Instant, result: Result<T, EngineError>) -> Result<T, LedgerError> {
        match result {
            Ok(value) => {
                self.ready.store(true, Ordering::Relaxed);
                if !self.outage_queue.is_clear() && self.outage_queue.was_closed_after(sent) {
                    return Ok(value); // a late reply does not show that the ledger is there again
                }
                if !self.reachable.swap(true, Ordering::Relaxed) {
                    info!("The shared budget is reachable");
                }
                if !self.outage_queue.is_clear()
                    && let Some(collect) = self.outage_queue.open()
                {
                    self.waiters.wake_all();
                    self.resume_after(collect);
                }
                Ok(value)
            }
            Err(EngineError::Unreachable(reason)) => {
                if self.reachable.swap(false, Ordering::Relaxed) {
                    warn!(
                        reason = %reason,
                        "The shared budget cannot be reached; requests for metered models wait, or get 503 if they do not"
                    );
                }
                *self.away_cause.lock() = Some(reason);
                self.outage_queue.close();
                Err(LedgerError::unreachable())
            }
            Err(error) => {
                warn!(error = %error, "A script of the shared budget failed");
                Err(LedgerError::Internal(error.to_string()))
            }
        }
    }
}
