//! State that every handler shares.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    api::{
        admin::events::Events,
        edge::{access_policy::Door, display_names::Names},
    },
    flow::Flow,
    ledger::{JournalPage, JournalRange},
};

/// What every handler shares: one for the whole process.
pub struct Edge {
    /// Who may enter; swapped whole on reload.
    pub door: ArcSwap<Door>,
    pub flow: Arc<Flow>,
    /// The journal as this replica last saw it; shown while the ledger is away.
    seen: ArcSwap<JournalPage>,
    pub names: Names,
    pub events: Events,
    draining: AtomicBool,
    /// Every request at work holds a receiver.
    in_flight: watch::Sender<()>,
}

/// Held by a request until its last byte is gone.
pub struct InFlight(#[expect(dead_code, reason = "held, never read")] watch::Receiver<()>);

impl Edge {
    pub fn new(door: Door, flow: Arc<Flow>) -> Self {
        Self {
            door: ArcSwap::from_pointee(door),
            flow,
            seen: ArcSwap::default(),
            names: Names::default(),
            events: Events::default(),
            draining: AtomicBool::new(false),
            in_flight: watch::Sender::new(()),
        }
    }

    /// From here on `/readyz` says 503 and every answer closes its connection.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.events.end();
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn enter(&self) -> InFlight {
        InFlight(self.in_flight.subscribe())
    }

    /// Resolves when no request is at work.
    pub async fn idle(&self) {
        self.in_flight.closed().await;
    }

    /// Totals and the last finished requests of the whole pool, the newest first.
    pub async fn journal(&self, last: usize) -> Arc<JournalPage> {
        match self.flow.ledger.journal(last, JournalRange::Newest).await {
            Ok(journal) => {
                let journal = Arc::new(journal);
                self.seen.store(journal.clone());
                journal
            }
            Err(_) => self.seen.load_full(),
        }
    }
}
