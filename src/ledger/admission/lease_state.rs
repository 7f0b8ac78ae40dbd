//! What a replica remembers of its leases, and of writes that an outage prevented.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::lease_record::LeaseRecord;
use crate::{
    domain::{Candidate, Charge, Choice, Client, Outcome, Usage},
    telemetry,
};

/// A lease that is not renewed within this time expires, which frees its slots.
pub(crate) const LEASE_TTL_MS: &str = "30000";
/// A settled lease is remembered for this time, so that it is neither settled nor replayed again.
pub(crate) const TOMBSTONE_MS: &str = "5000";
/// Writes kept through an outage. Older ones are dropped first: then their charges stay as they are.
const MAX_PENDING: usize = 20_000;

#[derive(Debug)]
pub(crate) struct LeaseState {
    pub id: String,
    pub epoch: Arc<str>,
    pub candidate: Arc<Candidate>,
    pub client: Client,
    pub charge: Charge,
    /// Tokens that the client's windows were charged.
    pub client_tokens: i64,
    /// By the ledger's clock.
    pub granted_ms: i64,
    record: Mutex<LeaseRecord>,
    renewed: Mutex<Instant>,
    /// Set once, when the lease is settled.
    usage: Mutex<Option<Usage>>,
}

/// What one admission granted.
pub(crate) struct Granted {
    pub id: String,
    pub epoch: Arc<str>,
    pub charge: Charge,
    pub client_tokens: i64,
    pub now_ms: i64,
    pub record: LeaseRecord,
}

impl LeaseState {
    pub(crate) fn new(candidate: &Arc<Candidate>, client: &Client, granted: Granted) -> Self {
        let Granted { id, epoch, charge, client_tokens, now_ms, record } = granted;
        Self {
            id,
            epoch,
            candidate: candidate.clone(),
            client: client.clone(),
            charge,
            client_tokens,
            granted_ms: now_ms,
            record: Mutex::new(record),
            renewed: Mutex::new(Instant::now()),
            usage: Mutex::new(None),
        }
    }

    pub(crate) fn record(&self) -> LeaseRecord {
        self.record.lock().clone()
    }

    pub(crate) fn set_record(&self, record: LeaseRecord) {
        *self.record.lock() = record;
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        *self.usage.lock()
    }

    pub(crate) fn close(&self, usage: Usage) {
        *self.usage.lock() = Some(usage);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.usage().is_none()
    }

    /// Time since it was granted or renewed.
    pub(crate) fn since_renewal(&self) -> Duration {
        self.renewed.lock().elapsed()
    }

    pub(crate) fn set_renewed(&self) {
        *self.renewed.lock() = Instant::now();
    }
}

/// A write that an outage prevented.
#[derive(Debug)]
pub(crate) enum PendingWrite {
    Settle(Arc<LeaseState>, Outcome),
    /// An admission whose reply never came. Its lease must never be used, whenever the call is carried out.
    Cancel {
        id: String,
        client: Client,
        choices: Vec<Choice>,
    },
}

/// The writes to repeat after an outage, oldest first.
#[derive(Default)]
pub(crate) struct PendingWrites(Mutex<VecDeque<PendingWrite>>);

impl PendingWrites {
    pub(crate) fn push(&self, write: PendingWrite) {
        let mut writes = self.0.lock();
        if writes.len() >= MAX_PENDING {
            // A settlement that is lost can be missed later; a cancellation mostly concerns a call that never arrived.
            let dropped = writes.iter().position(|write| matches!(write, PendingWrite::Cancel { .. })).unwrap_or(0);
            writes.remove(dropped);
            telemetry::ledger_write_dropped();
        }
        writes.push_back(write);
    }

    /// The oldest `count` writes.
    pub(crate) fn take(&self, count: usize) -> Vec<PendingWrite> {
        let mut writes = self.0.lock();
        let count = count.min(writes.len());
        writes.drain(..count).collect()
    }
}
