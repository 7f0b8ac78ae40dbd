//! Guards of calls that are in flight: each cleans up if its caller gives up at an await.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use super::{lease_state::PendingWrite, subject::Subject};
use crate::ledger::{
    error::LedgerError,
    script::engine::{EngineError, Reply, ScriptCall},
    shared::Shared,
};

/// A settlement that is sent together with the next admission. If that does not happen, it is written later.
pub(super) struct PendingSettlement<'a> {
    shared: &'a Shared,
    /// Large and rare, therefore boxed.
    settlement: Option<Box<(ScriptCall, PendingWrite)>>,
}

impl<'a> PendingSettlement<'a> {
    pub(super) fn new(shared: &'a Shared, settlement: Option<Box<(ScriptCall, PendingWrite)>>) -> Self {
        Self { shared, settlement }
    }

    pub(super) fn call(&self) -> Option<&ScriptCall> {
        self.settlement.as_deref().map(|(call, _)| call)
    }

    pub(super) fn is_done(&self) -> bool {
        self.settlement.is_none()
    }

    pub(super) fn done(&mut self) {
        self.settlement = None;
    }

    /// Sends the settlement in a call of its own, if it has not been sent.
    pub(super) async fn flush(&mut self) {
        if let Some(call) = self.call()
            && !matches!(self.shared.run(call).await, Err(LedgerError::Unreachable { .. }))
        {
            self.done();
        }
    }
}

impl Drop for PendingSettlement<'_> {
    fn drop(&mut self) {
        if let Some(settlement) = self.settlement.take() {
            self.shared.pending.push(settlement.1);
        }
    }
}

/// An admission whose reply has not been read. If that never happens it is cancelled, because it may have been granted.
pub(super) struct InFlightAdmit<'a> {
    shared: &'a Shared,
    subject: Subject<'a>,
    /// Empty if there is nothing to cancel.
    id: String,
}

impl<'a> InFlightAdmit<'a> {
    pub(super) fn new(shared: &'a Shared, subject: Subject<'a>, id: &str) -> Self {
        Self { shared, subject, id: id.to_owned() }
    }

    /// The call was not carried out.
    pub(super) fn nothing_to_cancel(&mut self) {
        self.id.clear();
    }

    /// The call was replaced by one for a lease of this id.
    pub(super) fn restart(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    pub(super) fn finish(mut self, reply: Result<Reply, EngineError>) -> Result<Reply, EngineError> {
        if !matches!(reply, Err(EngineError::Unreachable(_))) {
            self.id.clear();
        }
        reply
    }
}

impl Drop for InFlightAdmit<'_> {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            self.shared.pending.push(self.subject.cancellation(mem::take(&mut self.id)));
        }
    }
}

/// Adds the time spent in the queue to a counter on drop, so that a cancelled wait counts too.
pub(super) struct WaitTimer<'a> {
    since: Instant,
    adds_to: &'a AtomicU64,
}

impl<'a> WaitTimer<'a> {
    pub(super) fn start(adds_to: &'a AtomicU64) -> Self {
        Self { since: Instant::now(), adds_to }
    }
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        let us = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.adds_to.fetch_add(us, Ordering::Relaxed);
    }
}
