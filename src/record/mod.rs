//! ⑦ Journal and metrics, written once when a request ends.

pub mod journal;
pub mod metrics;

pub use journal::{Journal, WriteError};
