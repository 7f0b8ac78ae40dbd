//! How a request can fail. The edge makes HTTP of it.

use super::Attempt;
use crate::{
    domain::KeyRefused,
    ledger::{AuthenticationError, LedgerError, Refusal, RefusedBy},
    plan::PlanError,
};

#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Nobody can serve it; nothing was charged.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No budget, the caller's or anybody's. Where attempts were made, all of them met a limit.
    #[error("no candidate has room; room opens in {} ms", .0.retry_ms)]
    Refused(Refusal),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The caller's key has become invalid since it came in.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// Every candidate that was asked failed. `timed_out`: each of them by time-out.
    #[error("{}", words(.attempts))]
    AllFailed { attempts: Vec<Attempt>, timed_out: bool },
    /// Providers refused the request itself: the first one's 4xx, in its words.
    #[error("`{provider}` refused the request: {message}")]
    Rejected { status: u16, provider: String, message: String, code: Option<String> },
}

impl FlowError {
    /// The HTTP status that tells it, for the record.
    pub fn status(&self) -> u16 {
        match self {
            Self::Plan(PlanError::NotFound(_)) => 404,
            Self::Plan(PlanError::NotAllowed { .. }) => 403,
            Self::Plan(PlanError::ContextTooLong { .. } | PlanError::Unsupported { .. }) => 400,
            Self::Key(_) => 401,
            Self::Refused(_) => 429,
            Self::Ledger(_) => 503,
            Self::AllFailed { timed_out: true, .. } => 504,
            Self::AllFailed { .. } => 502,
            Self::Rejected { status, .. } => *status,
        }
    }
}

impl FlowError {
    /// The `code` the caller is told, for the record.
    pub fn code(&self) -> Option<&str> {
        Some(match self {
            Self::Plan(PlanError::NotFound(_)) => "model_not_found",
            Self::Plan(PlanError::NotAllowed { .. }) => "model_not_allowed",
            Self::Plan(PlanError::ContextTooLong { .. }) => "context_length_exceeded",
            Self::Plan(PlanError::Unsupported { .. }) => "unsupported_by_models",
            Self::Key(_) => "invalid_api_key",
            Self::Refused(Refusal { by: RefusedBy::Client, .. }) => "client_quota_exceeded",
            Self::Refused(_) => "budget_exhausted",
            Self::Ledger(_) => "ledger_unavailable",
            Self::AllFailed { timed_out: true, .. } => TIMED_OUT,
            Self::AllFailed { .. } => FAILED,
            Self::Rejected { code, .. } => return code.as_deref(),
        })
    }
}

/// Codes of what broke after its 200, too.
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

fn words(attempts: &[Attempt]) -> String {
    let each: Vec<String> = attempts.iter().map(|a| format!("{}: {} ({})", a.candidate, a.message, a.label)).collect();
    format!("Every candidate failed. {}", each.join(" · "))
}
