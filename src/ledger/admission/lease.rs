//! A lease: everything that one admission reserved, and the right to settle it once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tracing::Instrument;

use super::{
    lease_state::{Granted, LeaseState},
    refusal::{ClientUsage, RefusalReason},
};
use crate::{
    domain::{Candidate, Client, Outcome, Usage},
    ledger::shared::{Ledger, Shared},
    telemetry,
};

/// A lease that is dropped unsettled settles itself: everything is given back if nothing was sent, else the usage counts
/// as unknown.
#[derive(Debug)]
pub struct Lease {
    candidate: Arc<Candidate>,
    client: Option<ClientUsage>,
    passed_over: Vec<RefusalReason>,
    /// `None` for an unmetered candidate during an outage.
    guard: Option<LeaseGuard>,
}

struct LeaseGuard {
    shared: Arc<Shared>,
    state: Arc<LeaseState>,
    sent: AtomicBool,
}

impl std::fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseGuard").field("state", &self.state).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn new(
        shared: &Arc<Shared>,
        candidate: &Arc<Candidate>,
        client: &Client,
        granted: Granted,
        usage: Option<ClientUsage>,
        passed_over: Vec<RefusalReason>,
    ) -> Self {
        let state = Arc::new(LeaseState::new(candidate, client, granted));
        shared.epoch().remember(state.clone());
        let guard = LeaseGuard { shared: shared.clone(), state, sent: AtomicBool::new(false) };
        Self { candidate: candidate.clone(), client: usage, passed_over, guard: Some(guard) }
    }

    pub fn candidate(&self) -> &Arc<Candidate> {
        &self.candidate
    }

    /// The client's tightest windows after this admission, if the client has limits.
    pub fn client_usage(&self) -> Option<&ClientUsage> {
        self.client.as_ref()
    }

    /// The candidates before this one, and why they had no room.
    pub fn passed_over(&self) -> &[RefusalReason] {
        &self.passed_over
    }

    /// Marks that the call is on its way to the provider. From here on a lease that is dropped counts as sent.
    pub fn mark_sent(&self) {
        if let Some(guard) = &self.guard {
            guard.sent.store(true, Ordering::Relaxed);
        }
    }

    /// Settles the verdict of a breaker's probe as soon as the answer has begun, since answers can take long.
    pub fn first_token_received(&self) {
        if let Some(guard) = &self.guard
            && guard.state.record().is_probe()
        {
            let (shared, state) = (guard.shared.clone(), guard.state.clone());
            guard.shared.tasks.spawn(async move { shared.settle_probe(&state).await });
        }
    }

    /// Replaces the estimate by the usage, in the background.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(guard) = self.guard.take() {
            guard.settle(outcome);
        }
    }

    /// Closes the lease for a settlement in the same round trip as the next admission.
    pub(super) fn into_state(mut self, outcome: &Outcome) -> Option<Arc<LeaseState>> {
        let state = self.guard.take()?.state;
        state.close(outcome.usage);
        Some(state)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            let mut outcome = Outcome::unknown();
            if !guard.sent.load(Ordering::Relaxed) {
                outcome.usage = Usage::NOT_SENT;
            }
            guard.settle(outcome);
        }
    }
}

impl LeaseGuard {
    fn settle(self, outcome: Outcome) {
        let Self { shared, state, .. } = self;
        state.close(outcome.usage);
        let tasks = shared.tasks.clone();
        let span = telemetry::script("settle");
        tasks.spawn(async move { shared.settle_now(state, outcome).await }.instrument(span));
    }
}

impl Ledger {
    /// A lease of a candidate without limits, for the time of an outage. Nothing is written or settled.
    pub fn unmetered(&self, candidate: &Arc<Candidate>) -> Lease {
        Lease { candidate: candidate.clone(), client: None, passed_over: Vec::new(), guard: None }
    }
}
