//! Gemini: errors are wrapped in an array, `quotaId` names the limit, and a bad key is a 400.

use serde_json::Value;

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Hint, Limit, Scope},
    upstream::{error_response::ErrorResponse, hints},
};

/// The delay of an exhausted day is right only if it is longer than this, unless the catalogue sets another bound.
const TRUSTED_OVER_S: i64 = 120;

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match (error.status, error.kind.as_deref()) {
        (429, _) => Some(limited(error)),
        (400, _) if has_reason(error, "API_KEY_INVALID") => Some(Classification::bad_key(error)),
        (400, Some("FAILED_PRECONDITION")) if error.says(&["location"]) => {
            Some(Classification::gone(error, "not served in this region"))
        }
        (403, _) => Some(Classification::bad_key(error)),
        (503, _) => Some(Classification::busy()),
        _ => None,
    }
}

fn details<'r>(error: &'r ErrorResponse<'_>, kind: &str) -> impl Iterator<Item = &'r Value> {
    let details = error.body["details"].as_array().into_iter().flatten();
    details.filter(move |d| d["@type"].as_str().is_some_and(|t| t.ends_with(kind)))
}

fn has_reason(error: &ErrorResponse<'_>, reason: &str) -> bool {
    details(error, "ErrorInfo").any(|d| d["reason"] == reason)
}

fn limited(error: &ErrorResponse<'_>) -> Classification {
    let violations: Vec<&Value> =
        details(error, "QuotaFailure").filter_map(|d| d["violations"].as_array()).flatten().collect();
    let named: Vec<Hint> = violations.iter().filter_map(|violation| hint(violation)).collect();
    // `limit: 0` means that the model is not on the plan. The value is then missing, and only the text has the figure.
    let nothing = named.iter().any(|hint| hint.max == Some(0)) || error.message.contains("limit: 0");
    if nothing && named.iter().all(|hint| hint.max.unwrap_or(0) == 0) {
        return Classification::gone(error, "limit 0");
    }
    let delay = details(error, "RetryInfo")
        .find_map(|d| hints::duration_ms(d["retryDelay"].as_str()?))
        .or_else(|| error.retry_after_ms());
    // The longest of several windows reopens last.
    let Some(longest) = named.iter().max_by_key(|hint| hint.limit.span_ms()) else {
        return Classification::limited_unnamed(CooldownScope::AccountModel, delay, "429");
    };
    let wait = delay.filter(|ms| is_trusted(error, longest.limit, *ms));
    let limited = Classification::limited(error, longest.limit, longest.scope, wait);
    named.iter().fold(limited, |classification, hint| classification.with_hint(*hint))
}

/// The limit of a violation. The delay states the time of the reset, so the window is not filled up.
fn hint(violation: &Value) -> Option<Hint> {
    let id = violation["quotaId"].as_str()?;
    let scope = if id.contains("PerModel") { Scope::Model } else { Scope::Account };
    Some(Hint { limit: window(id)?, scope, max: value(violation), remaining: None })
}

/// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`, `GenerateContentInputTokensPerModelPerMinute-FreeTier`
fn window(quota_id: &str) -> Option<Limit> {
    let tokens = quota_id.contains("InputToken");
    let requests = quota_id.contains("Requests");
    match (quota_id.contains("PerMinute"), quota_id.contains("PerDay")) {
        (true, _) if tokens => Some(Limit::Tpm),
        (true, _) if requests => Some(Limit::Rpm),
        (_, true) if tokens => Some(Limit::Tpd),
        (_, true) if requests => Some(Limit::Rpd),
        _ => None,
    }
}

fn value(violation: &Value) -> Option<i64> {
    let value = &violation["quotaValue"];
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The delay of a minute is right. Until September 2026 that of a day was only the time to the next minute.
fn is_trusted(error: &ErrorResponse<'_>, limit: Limit, delay_ms: i64) -> bool {
    let bounds = &error.candidate.provider.wire.retry_trusted_over_s;
    let over = bounds.iter().find(|(l, _)| *l == limit).map(|(_, s)| *s);
    match over.or((limit.span_ms() > 60_000).then_some(TRUSTED_OVER_S)) {
        Some(over_s) => delay_ms > over_s * 1_000,
        None => true,
    }
}
