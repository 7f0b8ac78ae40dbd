//! OpenRouter: `metadata.limit_source` tells its own refusals from those of the providers behind it.

use serde_json::Value;

use super::openai;
use crate::{
    domain::{CooldownScope, Hint, Limit},
    upstream::{fault::Verdict, refusal::Refusal},
};

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    let metadata = &refusal.body["metadata"];
    let error_type = metadata["error_type"].as_str();
    match refusal.status {
        429 => Some(limited(refusal, metadata)),
        400 if error_type == Some("context_length_exceeded") => Some(Verdict::context()),
        400 if refusal.says(&["not a valid model id"]) => Some(Verdict::gone(refusal, "no such model")),
        403 if metadata["reasons"].is_array() || metadata["flagged_input"].is_string() => Some(Verdict::rejected()),
        403 if refusal.says(&["key limit"]) => Some(Verdict::bad_key(refusal)),
        // Nothing that can do what this request needs; others may still be served.
        404 if refusal.says(&["that support", "data policy"]) => Some(Verdict::rejected()),
        503 if error_type == Some("provider_overloaded") => Some(Verdict::busy()),
        // The provider behind it failed, not OpenRouter.
        500..=599 if metadata["provider_name"].is_string() || refusal.says(&["upstream"]) => {
            Some(Verdict::model_broken())
        }
        _ => None,
    }
}

fn limited(refusal: &Refusal<'_>, metadata: &Value) -> Verdict {
    let source = metadata["limit_source"].as_str().unwrap_or_default();
    let limit = if source == "openrouter_free_tier_daily" || refusal.says(&["free-models-per-day"]) {
        Some(Limit::Rpd)
    } else if source == "openrouter_free_tier_per_minute" || refusal.says(&["free-models-per-min"]) {
        Some(Limit::Rpm)
    } else {
        None
    };
    if let Some(limit) = limit {
        let hint = Hint { limit, max: told(metadata, "Limit"), remaining: told(metadata, "Remaining") };
        return Verdict::limited(refusal, limit, wait(refusal, metadata, limit)).learned(hint);
    }
    if refusal.says(&["limit_rpm/"]) {
        // That model only, whoever asks.
        return Verdict::limited_unnamed(CooldownScope::AccountModel, wait(refusal, metadata, Limit::Rpm), "429");
    }
    // `upstream_provider_shared_pool`, "Provider returned error": our own allowance is untouched.
    Verdict::busy()
}

/// The headers are repeated inside the body, and were at times only there.
fn told(metadata: &Value, name: &str) -> Option<i64> {
    let value = &metadata["headers"][format!("X-RateLimit-{name}")];
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn wait(refusal: &Refusal<'_>, metadata: &Value, limit: Limit) -> Option<i64> {
    // Epoch milliseconds.
    let inside = told(metadata, "Reset").map(|at| at - refusal.now_ms).filter(|ms| *ms > 0);
    inside.or_else(|| openai::wait(refusal, limit))
}
