//! The error of every call of the ledger.

use super::script::engine::Reply;

/// How long a caller waits before it tries again when the ledger cannot be reached.
const OUTAGE_RETRY_MS: i64 = 1_000;

#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// An outage of Redis. Nothing is admitted that is metered.
    #[error("the shared budget cannot be reached")]
    Unreachable { retry_ms: i64 },
    /// A script failed or returned what this version does not understand: a bug of ours.
    #[error("the shared budget failed: {0}")]
    Internal(String),
}

impl LedgerError {
    pub(crate) fn unreachable() -> Self {
        Self::Unreachable { retry_ms: OUTAGE_RETRY_MS }
    }

    /// A script returned a reply of another form than its header states.
    pub(crate) fn unexpected(script: &str, reply: &Reply) -> Self {
        Self::Internal(format!("unexpected reply of `{script}`: {reply:?}"))
    }
}
