//! How a request can fail. The HTTP edge maps it to a response.

use super::{Attempt, attempt_log::MAX_LISTED};
use crate::{
    domain::{KeyRefused, first_and_more},
    ledger::{AuthenticationError, LedgerError, Refusal, RefusedBy},
    plan::PlanError,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowError {
    /// No candidate can serve the request; nothing was charged.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The client's quota or the budget of every candidate is used up, or every candidate is down. Earlier attempts, if any,
    /// all met limits.
    #[error("no candidate has room; room opens in {} ms", .0.retry_ms)]
    Refused(Refusal),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The client's key became invalid after the request was accepted.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// Every attempt failed. `timed_out`: all of them by timeout.
    #[error("{}", attempts_message(.attempts))]
    AllFailed { attempts: Vec<Attempt>, timed_out: bool },
    /// A provider's answer arrived whole and cannot be read.
    #[error("{0}")]
    Damaged(String),
    /// Providers rejected the request itself: status and message of the first one.
    #[error("`{provider}` rejected the request: {message}")]
    Rejected { status: u16, provider: String, message: String, code: Option<String> },
}

impl FlowError {
    /// HTTP status of the response.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Plan(PlanError::NotFound(_)) => 404,
            Self::Plan(PlanError::NotAllowed { .. }) => 403,
            Self::Plan(PlanError::ContextTooLong { .. } | PlanError::Unsupported { .. }) => 400,
            Self::Key(_) => 401,
            Self::Refused(refusal) if refusal.is_down() => 503,
            Self::Refused(_) => 429,
            Self::Ledger(_) => 503,
            Self::AllFailed { timed_out: true, .. } => 504,
            Self::AllFailed { .. } | Self::Damaged(_) => 502,
            Self::Rejected { status, .. } => *status,
        }
    }

    /// Error `code` of the response.
    pub(crate) fn code(&self) -> Option<&str> {
        Some(match self {
            Self::Plan(PlanError::NotFound(_)) => "model_not_found",
            Self::Plan(PlanError::NotAllowed { .. }) => "model_not_allowed",
            Self::Plan(PlanError::ContextTooLong { .. }) => "context_length_exceeded",
            Self::Plan(PlanError::Unsupported { .. }) => "unsupported_by_models",
            Self::Key(_) => "invalid_api_key",
            Self::Refused(Refusal { by: RefusedBy::Client, .. }) => "client_quota_exceeded",
            Self::Refused(refusal) if refusal.is_down() => "no_provider_available",
            Self::Refused(_) => "budget_exhausted",
            Self::Ledger(_) => "ledger_unavailable",
            Self::AllFailed { timed_out: true, .. } => TIMED_OUT,
            Self::AllFailed { .. } | Self::Damaged(_) => FAILED,
            Self::Rejected { code, .. } => return code.as_deref(),
        })
    }
}

/// Also the codes of replies that failed after their 200.
pub(super) const FAILED: &str = "upstream_error";
pub(super) const TIMED_OUT: &str = "upstream_timeout";

impl From<AuthenticationError> for FlowError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Refused(why) => Self::Key(why),
            AuthenticationError::Ledger(error) => Self::Ledger(error),
        }
    }
}

fn attempts_message(attempts: &[Attempt]) -> String {
    let attempt = |a: &Attempt| format!("{}: {} ({})", a.candidate, a.message, a.label);
    format!("Every candidate failed. {}", first_and_more(attempts, MAX_LISTED, "… and ", attempt).join(" · "))
}
