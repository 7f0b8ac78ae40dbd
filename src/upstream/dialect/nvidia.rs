//! NVIDIA NIM: RFC 7807 bodies, no headers, and a 400 that is an outage.

use crate::{
    domain::Limit,
    upstream::{fault::Verdict, refusal::Refusal},
};

/// A new window opens about every minute.
const WINDOW_MS: i64 = 60_000;

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match refusal.status {
        429 => {
            let wait = refusal.retry_after_ms().unwrap_or(WINDOW_MS);
            Some(Verdict::limited(refusal, Limit::Rpm, Some(wait)))
        }
        400 if refusal.says(&["degraded function"]) => Some(Verdict::busy()),
        403 => Some(Verdict::bad_key(refusal)),
        _ => None,
    }
}
