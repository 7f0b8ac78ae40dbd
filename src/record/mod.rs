//! ⑦ What happened, told once, at the end of each request.

pub mod event;
pub mod journal;
pub mod metrics;

pub use event::{Event, PassedOver, Tried};
pub use journal::{Journal, Unwritten};
