//! NVIDIA NIM: RFC 7807 bodies, no headers, and a 400 that is an outage.

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Hint, Limit, Scope},
    upstream::error_response::ErrorResponse,
};

/// About the length of a window.
const WINDOW_MS: i64 = 60_000;

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match error.status {
        // Large models have ceilings of their own below the account's limit, which no document and no header names.
        429 => {
            let wait = error.retry_after_ms().unwrap_or(WINDOW_MS);
            let refusal = Classification::limited_unnamed(CooldownScope::AccountModel, Some(wait), "429");
            let ceiling = Hint { limit: Limit::Rph, scope: Scope::Model, max: Some(Hint::CEILING), remaining: None };
            Some(refusal.with_hint(ceiling))
        }
        400 if error.says(&["degraded function"]) => Some(Classification::busy()),
        403 => Some(Classification::bad_key(error)),
        _ => None,
    }
}
