//! NVIDIA NIM: RFC 7807 bodies, no headers, and a 400 that is an outage.

use super::classification::Classification;
use crate::{
    domain::{Limit, Scope},
    upstream::error_response::ErrorResponse,
};

/// About the length of a window.
const WINDOW_MS: i64 = 60_000;

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match error.status {
        429 => {
            let wait = error.retry_after_ms().unwrap_or(WINDOW_MS);
            Some(Classification::limited(error, Limit::Rpm, Scope::Account, Some(wait)))
        }
        400 if error.says(&["degraded function"]) => Some(Classification::busy()),
        403 => Some(Classification::bad_key(error)),
        _ => None,
    }
}
