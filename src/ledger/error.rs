//! The error of every call of the ledger.

/// How long a caller waits before it tries again when the ledger cannot be reached.
pub(crate) const OUTAGE_RETRY_MS: i64 = 1_000;

#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// An outage of Redis. Nothing is admitted that is metered.
    #[error("the shared budget cannot be reached")]
    Unreachable { retry_ms: i64 },
    /// A script failed or answered what we do not understand: our mistake.
    #[error("the shared budget answered unexpectedly: {0}")]
    Internal(String),
}
