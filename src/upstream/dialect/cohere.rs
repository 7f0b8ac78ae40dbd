//! Cohere: the message names the limit. The monthly trial calls reset on the first day of the month.

use super::classification::Classification;
use crate::{
    domain::{Limit, time::MINUTE_MS},
    upstream::error_response::ErrorResponse,
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    if error.status != 429 {
        return None;
    }
    if error.says(&["/ month", "per month"]) {
        return Some(Classification::limited(error, Limit::Rpmonth, None));
    }
    let wait = error.retry_after_ms().unwrap_or(MINUTE_MS);
    error.says(&["/ minute", "per minute"]).then(|| Classification::limited(error, Limit::Rpm, Some(wait)))
}
