//! The candidates that one request may still try, and the time it has for that.

mod ending;
mod exclusion;
#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

pub(super) use self::exclusion::smallest_token_window;
use super::{AttemptLog, FlowError};
use crate::{
    domain::{
        Candidate, Charge, Choice, Client, Fault, FaultKind, KeyRefused, ModelKind, Outcome, RoutePlan, Tier,
        provider::DialectName,
    },
    ledger::{Admission, AdmitRequest, Lease, Ledger, LedgerError},
};

/// State of one request between its attempts.
pub(crate) struct Failover {
    plan: RoutePlan,
    attempt_log: AttemptLog,
    tier: Tier,
    /// End of the time in the wait queue.
    wait_deadline: Instant,
    /// No attempt begins after this. Time in the wait queue extends it.
    deadline: Instant,
    /// Candidates that returned a rate limit and moved to the end of the plan. Each is tried once more: its limit may have
    /// reset while the others were tried.
    limited: Vec<Arc<Candidate>>,
    /// Candidates whose reused connection was closed; each is called once more.
    reconnected: Vec<Arc<Candidate>>,
    /// The first provider's 4xx about the request itself.
    rejection: Option<FlowError>,
    /// Dialects of the providers that refused the request.
    rejected_by: Vec<DialectName>,
    /// Shortest reported time until one of the limits resets.
    earliest_reset_ms: Option<i64>,
}

impl Failover {
    pub(crate) fn new(
        plan: RoutePlan,
        attempt_log: AttemptLog,
        tier: Tier,
        wait: Duration,
        route_timeout: Duration,
    ) -> Self {
        let now = Instant::now();
        let (wait_deadline, deadline) = (now + wait, now + route_timeout);
        Self {
            plan,
            attempt_log,
            tier,
            wait_deadline,
            deadline,
            limited: Vec::new(),
            reconnected: Vec::new(),
            rejection: None,
            rejected_by: Vec::new(),
            earliest_reset_ms: None,
        }
    }

    /// An admission request for the remaining candidates, in order.
    pub(crate) fn admit_request<'a>(&'a self, client: &'a Client) -> AdmitRequest<'a> {
        let wait = self.wait_deadline.saturating_duration_since(Instant::now());
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        AdmitRequest {
            client,
            choices: &self.plan.choices,
            wait_ms,
            tier: self.tier,
            waited_us: self.attempt_log.waited_us(),
            ledger_wait_us: self.attempt_log.ledger_wait_us(),
        }
    }

    /// Keeps the candidates that are also in `plan`, which was made for the client's changed record.
    pub(crate) fn retain_planned(&mut self, plan: &RoutePlan) {
        let planned = |c: &Choice| plan.choices.iter().any(|other| Arc::ptr_eq(&other.candidate, &c.candidate));
        self.plan.choices.retain(planned);
    }

    /// Adds the time of an admission, which does not count as routing.
    pub(crate) fn extend_deadline(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// Charge that the plan made for a candidate.
    pub(crate) fn charge(&self, candidate: &Candidate) -> Charge {
        self.plan
            .choices
            .iter()
            .find(|c| std::ptr::eq(Arc::as_ptr(&c.candidate), candidate))
            .map_or_else(Charge::default, |c| c.charge)
    }

    /// The granted lease, or the error that ends the request. While the ledger is unreachable, candidates without limits are
    /// still served.
    pub(crate) fn granted_lease(
        &mut self,
        ledger: &Ledger,
        admission: Result<Admission, LedgerError>,
    ) -> Result<Lease, FlowError> {
        match admission {
            Ok(Admission::Granted(lease)) => {
                self.attempt_log.set_passed_over(lease.passed_over());
                Ok(lease)
            }
            Ok(Admission::Refused(refusal)) => {
                self.attempt_log.set_passed_over(&refusal.reasons);
                Err(self.refused(refusal))
            }
            // The flow has already read the record again and repeated the admission.
            Ok(Admission::ClientChanged) => Err(FlowError::Key(KeyRefused::Unknown)),
            Err(outage @ LedgerError::Unreachable { .. }) => {
                let unmetered = self.plan.choices.iter().find(|c| c.candidate.is_unmetered());
                unmetered.map(|c| ledger.unmetered(&c.candidate)).ok_or(FlowError::Ledger(outage))
            }
            Err(ours) => Err(ours.into()),
        }
    }

    /// Runs one attempt until the routing deadline, or for the provider's own timeout where that ends later.
    pub(crate) async fn attempt<T>(
        &self,
        candidate: &Candidate,
        attempt: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Result<T, Fault> {
        self.attempt_log.begin(candidate);
        let own = candidate.first_token_timeout_ms().map(|ms| Instant::now() + Duration::from_millis(ms));
        let until = own.map_or(self.deadline, |own| own.max(self.deadline));
        match tokio::time::timeout_at(until, attempt).await {
            Ok(ended) => ended,
            Err(_) => Err(routing_timeout()),
        }
    }

    /// Whether another model is left to try after an empty reply. A recording without a word is transcribed by two at most.
    pub(crate) fn has_alternative(&self, candidate: &Candidate) -> bool {
        let is_sound = candidate.model.kind == ModelKind::Transcription;
        let was_empty = || self.attempt_log.attempts().iter().any(|attempt| attempt.label == "empty");
        if is_sound && was_empty() {
            return false;
        }
        self.plan.choices.iter().any(|choice| choice.candidate.name != candidate.name)
    }

    /// The protocol that the client speaks.
    pub(crate) fn protocol(&self) -> &'static str {
        self.attempt_log.protocol()
    }

    pub(crate) fn replied(&self, candidate: &Candidate) {
        self.attempt_log.replied(candidate);
    }
}

/// The gateway stopped waiting. The provider may be healthy, so its breaker learns nothing.
fn routing_timeout() -> Fault {
    Fault {
        kind: FaultKind::TimedOut,
        status: None,
        label: "timeout".to_owned(),
        message: "no content before the routing timeout".to_owned(),
        code: None,
        outcome: Outcome::unknown(),
    }
}
