//! Cloudflare Workers AI: the code decides. The daily neurons reset at midnight UTC.

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Limit, Scope, time::DAY_MS},
    upstream::error_response::ErrorResponse,
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match error.code.as_deref()? {
        "3036" | "4006" => {
            let midnight = DAY_MS - error.now_ms.rem_euclid(DAY_MS);
            Some(Classification::limited_unnamed(CooldownScope::Account, Some(midnight), "429_day"))
        }
        "3040" => Some(Classification::busy()),
        "3021" => Some(Classification::limited(error, Limit::Rpm, Scope::Account, error.retry_after_ms())),
        "5007" | "3042" => Some(Classification::gone(error, "no such model")),
        "3006" => Some(Classification::too_large()),
        "3007" => Some(Classification::timed_out()),
        "5016" | "5018" | "5035" | "3041" => Some(Classification::gone(error, "not on this plan")),
        "10000" => Some(Classification::bad_key(error)),
        _ => None,
    }
}
