//! ⑦ What happened, told once, at the end of each request.

pub mod journal;
pub mod metrics;

pub use journal::{Journal, WriteError};
