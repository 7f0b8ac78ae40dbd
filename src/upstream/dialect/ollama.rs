//! Ollama, local (no limits but a queue) and in the cloud (one model at a time, windows of five hours and a week).

use super::classification::Classification;
use crate::{
    domain::{
        CooldownScope, Limit, Scope,
        time::{DAY_MS, HOUR_MS},
    },
    upstream::error_response::ErrorResponse,
};

const SESSION_MS: i64 = 5 * HOUR_MS;
/// Wait for a slot, which frees at the unknown end of a response.
const SLOT_MS: i64 = 1_000;

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match error.status {
        429 if error.says(&["session usage limit"]) => {
            // Sessions begin at multiples of five hours since the Unix epoch.
            Some(account(SESSION_MS - error.now_ms.rem_euclid(SESSION_MS), "429_session"))
        }
        429 if error.says(&["weekly usage limit"]) => {
            // Weeks begin on Monday at 00:00 UTC. The epoch was a Thursday.
            let week = 7 * DAY_MS;
            Some(account(week - (error.now_ms - 4 * DAY_MS).rem_euclid(week), "429_week"))
        }
        429 if error.says(&["monthly usage limit"]) => Some(Classification::credit_spent(error)),
        429 if error.says(&["concurrent"]) => Some(slots(error)),
        403 => Some(Classification::gone(error, "")),
        503 if error.says(&["busy"]) => Some(Classification::busy()),
        _ => None,
    }
}

/// The limit of one call at a time over the whole account, tracked or not.
fn slots(error: &ErrorResponse<'_>) -> Classification {
    Classification::limited(error, Limit::Concurrency, Scope::Account, Some(SLOT_MS))
}

fn account(wait_ms: i64, cause: &str) -> Classification {
    Classification::limited_unnamed(CooldownScope::Account, Some(wait_ms), cause)
}
