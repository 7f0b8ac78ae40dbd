//! ⑦ Journal and metrics, written once when a request ends.

pub(crate) mod journal;
pub(crate) mod metrics;

pub(crate) use journal::{Journal, WriteError};
