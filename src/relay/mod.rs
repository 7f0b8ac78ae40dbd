//! ⑤ Provider bytes → caller's bytes, and the end of the lease, which is settled with the last byte.
//!
//! Events pass as `upstream` delivers them; nothing here looks inside a body.

pub(crate) mod answer;
pub(crate) mod usage_tap;

pub(crate) use answer::{ChatBody, Ending, RelayContext, RelayOutcome, answer};
