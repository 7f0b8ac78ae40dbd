//! The state all handlers share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    api::edge::{
        access_policy::AccessPolicy,
        display_names::DisplayNames,
        event_hub::EventHub,
        guesses::Guesses,
        open_requests::{OpenRequest, OpenRequests},
    },
    flow::Flow,
    ledger::{JournalPage, JournalRange},
    memory::Memory,
};

/// Recordings of the largest size that a replica keeps on disk at a time.
const MAX_RECORDINGS: usize = 16;

/// One instance per process.
pub(crate) struct AppState {
    /// Replaced as a whole on reload.
    pub policy: ArcSwap<AccessPolicy>,
    pub flow: Arc<Flow>,
    /// The newest page of the journal this replica has read, returned while the ledger is unreachable.
    last_journal: ArcSwap<JournalPage>,
    pub display_names: DisplayNames,
    pub events: EventHub,
    /// Whether the ledger has held client keys.
    has_clients: AtomicBool,
    pub guesses: Guesses,
    pub bodies: Arc<Memory>,
    /// Recordings on disk, for all requests of the replica.
    pub recordings: Arc<Memory>,
    draining: AtomicBool,
    /// Each running request whose body has arrived holds a receiver.
    in_flight: watch::Sender<()>,
    /// Requests at a time, with those whose bodies are still to come.
    open: Arc<OpenRequests>,
}

/// Held by a request until its last byte has been sent.
pub(crate) struct InFlight(#[expect(dead_code, reason = "held, never read")] watch::Receiver<()>);

impl AppState {
    pub(crate) fn new(policy: AccessPolicy, flow: Arc<Flow>, has_clients: bool) -> Self {
        Self {
            bodies: flow.upstream.memory().clone(),
            recordings: Memory::for_files(policy.upload_bytes.saturating_mul(MAX_RECORDINGS)),
            policy: ArcSwap::from_pointee(policy),
            flow,
            last_journal: ArcSwap::default(),
            display_names: DisplayNames::default(),
            events: EventHub::default(),
            has_clients: AtomicBool::new(has_clients),
            guesses: Guesses::default(),
            draining: AtomicBool::new(false),
            in_flight: watch::Sender::new(()),
            open: Arc::default(),
        }
    }

    pub(crate) fn has_clients(&self) -> bool {
        self.has_clients.load(Ordering::Acquire)
    }

    /// A client key exists. If the gateway was open only because there was none, callers need a key from now on. Returns
    /// whether that is so.
    pub(crate) fn note_clients(&self) -> bool {
        self.has_clients.store(true, Ordering::Release);
        let Some(closed) = self.policy.load().with_client_keys() else { return false };
        self.policy.store(Arc::new(closed));
        tracing::info!("The first client key exists: from now on callers need a key");
        true
    }

    /// From now on `/readyz` returns 503 and each response closes its connection.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.events.end();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Counts a request, unless there are `max` of them already.
    pub(crate) fn open_request(&self, max: usize) -> Option<Arc<OpenRequest>> {
        self.open.open(max)
    }

    pub(crate) fn track_request(&self) -> InFlight {
        InFlight(self.in_flight.subscribe())
    }

    /// Resolves when no request is running.
    pub(crate) async fn wait_until_idle(&self) {
        self.in_flight.closed().await;
    }

    /// Totals and the newest `count` finished requests of the whole pool, newest first.
    pub(crate) async fn recent_requests(&self, count: usize) -> Arc<JournalPage> {
        match self.flow.ledger.journal(count, JournalRange::Newest).await {
            Ok(journal) => {
                let journal = Arc::new(journal);
                self.last_journal.store(journal.clone());
                journal
            }
            Err(_) => self.last_journal.load_full(),
        }
    }
}
