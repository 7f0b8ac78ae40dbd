//! The error that ends a request for which no candidate is left.

use super::Failover;
use crate::{
    domain::{Candidate, Fault, FaultKind},
    flow::{Attempt, FlowError},
    ledger::{Refusal, RefusalReason, RefusedBy},
    plan::PlanError,
};

/// Retry delay for a limit whose reset time is unknown.
const DEFAULT_RETRY_MS: i64 = 1_000;

impl Failover {
    /// The error of a refused admission.
    pub(super) fn refused(&mut self, refusal: Refusal) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        if refusal.by == RefusedBy::Budget
            && !refusal.reasons.is_empty()
            && refusal.reasons.iter().all(|l| l.why == "off")
        {
            let message =
                format!("Every model behind `{}` that could serve this request is disabled.", self.plan.requested);
            return PlanError::Unsupported { param: "model".to_owned(), message }.into();
        }
        let by_limits = |a: &Attempt| matches!(a.kind, Some(FaultKind::RateLimited | FaultKind::TooLarge));
        if self.attempt_log.attempts().iter().all(by_limits) { FlowError::Refused(refusal) } else { self.all_failed() }
    }

    /// The error when no candidate is left, or no time.
    pub(super) fn exhausted(&mut self) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        let attempts = self.attempt_log.attempts();
        if !attempts.iter().all(|a| a.kind == Some(FaultKind::RateLimited)) {
            return self.all_failed();
        }
        let retry_ms = self.earliest_reset_ms.unwrap_or(DEFAULT_RETRY_MS);
        let lines = attempts.into_iter().map(|a| RefusalReason {
            candidate: a.candidate,
            why: a.label,
            max: None,
            retry_in_ms: retry_ms,
        });
        FlowError::Refused(Refusal {
            by: RefusedBy::Budget,
            retry_ms,
            exact: false,
            reasons: lines.collect(),
            client: None,
        })
    }

    fn all_failed(&self) -> FlowError {
        let attempts = self.attempt_log.attempts();
        let timed_out = attempts.iter().all(|a| a.kind == Some(FaultKind::TimedOut));
        FlowError::AllFailed { attempts, timed_out }
    }
}

pub(super) fn rejected(candidate: &Candidate, fault: &Fault, status: u16, code: Option<&str>) -> FlowError {
    FlowError::Rejected {
        status,
        provider: candidate.provider.id.to_string(),
        message: fault.message.clone(),
        code: code.map(str::to_owned),
    }
}
