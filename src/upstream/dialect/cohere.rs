//! Cohere: the message names the limit. The monthly trial calls reset on the first day of the month.

use super::classification::Classification;
use crate::{
    domain::{Limit, Scope, time::MINUTE_MS},
    upstream::error_response::ErrorResponse,
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    if error.status != 429 {
        return None;
    }
    if error.says(&["/ month", "per month"]) {
        return Some(Classification::limited(error, Limit::Rpmonth, Scope::Account, None));
    }
    let wait = error.retry_after_ms().unwrap_or(MINUTE_MS);
    let is_minute = error.says(&["/ minute", "per minute"]);
    is_minute.then(|| Classification::limited(error, Limit::Rpm, Scope::Account, Some(wait)))
}
