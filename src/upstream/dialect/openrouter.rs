//! OpenRouter: `metadata.limit_source` distinguishes its own refusals from those of the providers behind it.

use serde_json::Value;

use super::{classification::Classification, openai};
use crate::{
    domain::{CooldownScope, Hint, Limit, Scope},
    upstream::error_response::ErrorResponse,
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    let metadata = &error.body["metadata"];
    let error_type = metadata["error_type"].as_str();
    match error.status {
        429 => Some(limited(error, metadata)),
        400 if error_type == Some("context_length_exceeded") => Some(Classification::context()),
        400 if error.says(&["not a valid model id"]) => Some(Classification::gone(error, "no such model")),
        403 if metadata["reasons"].is_array() || metadata["flagged_input"].is_string() => {
            Some(Classification::rejected())
        }
        403 if error.says(&["key limit"]) => Some(Classification::bad_key(error)),
        // No endpoint supports what this request needs. Other requests may still be served.
        404 if error.says(&["that support", "data policy"]) => Some(Classification::rejected()),
        503 if error_type == Some("provider_overloaded") => Some(Classification::busy()),
        500..=599 if openai::is_context(error) => Some(Classification::context()),
        // The provider behind OpenRouter failed.
        500..=599 if metadata["provider_name"].is_string() || error.says(&["upstream"]) => {
            Some(Classification::model_broken())
        }
        _ => None,
    }
}

fn limited(error: &ErrorResponse<'_>, metadata: &Value) -> Classification {
    let source = metadata["limit_source"].as_str().unwrap_or_default();
    let limit = if source == "openrouter_free_tier_daily" || error.says(&["free-models-per-day"]) {
        Some(Limit::Rpd)
    } else if source == "openrouter_free_tier_per_minute" || error.says(&["free-models-per-min"]) {
        Some(Limit::Rpm)
    } else {
        None
    };
    if let Some(limit) = limit {
        let (max, remaining) = (header_in_body(metadata, "Limit"), header_in_body(metadata, "Remaining"));
        let hint = Hint { limit, scope: Scope::Account, max, remaining };
        return Classification::limited(error, limit, Scope::Account, wait(error, metadata, limit)).with_hint(hint);
    }
    if error.says(&["limit_rpm/"]) {
        // A limit of the model over all accounts.
        return Classification::limited_unnamed(CooldownScope::AccountModel, wait(error, metadata, Limit::Rpm), "429");
    }
    // `upstream_provider_shared_pool`, "Provider returned error": the account's own limits are untouched.
    Classification::busy()
}

/// A header that is repeated in the body, at times only there.
fn header_in_body(metadata: &Value, name: &str) -> Option<i64> {
    let value = &metadata["headers"][format!("X-RateLimit-{name}")];
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn wait(error: &ErrorResponse<'_>, metadata: &Value, limit: Limit) -> Option<i64> {
    // Epoch milliseconds.
    let inside = header_in_body(metadata, "Reset").map(|at| at - error.now_ms).filter(|ms| *ms > 0);
    inside.or_else(|| openai::wait(error, limit, Scope::Account))
}
