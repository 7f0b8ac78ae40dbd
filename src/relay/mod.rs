//! ⑤ Upstream bytes → client bytes, and the end of the lease: whoever relays the last byte settles.
//!
//! Events pass as their provider wrote them (cleaned up by `upstream`); nothing here looks inside a body.

pub mod answer;
pub mod usage_tap;

pub use answer::{ChatBody, Ending, RelayContext, RelayOutcome, answer};
