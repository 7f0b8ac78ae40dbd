//! Gemini: errors come wrapped in an array; `quotaId` names the window; a bad key is a 400.

use serde_json::Value;

use crate::{
    domain::{CooldownScope, Hint, Limit},
    upstream::{fault::Verdict, hints, refusal::Refusal},
};

/// A spent day names a true wait only when it is longer than this (s); where the catalogue says nothing.
const TRUSTED_OVER_S: i64 = 120;

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match (refusal.status, refusal.kind.as_deref()) {
        (429, _) => Some(limited(refusal)),
        (400, _) if has_reason(refusal, "API_KEY_INVALID") => Some(Verdict::bad_key(refusal)),
        (400, Some("FAILED_PRECONDITION")) if refusal.says(&["location"]) => {
            Some(Verdict::gone(refusal, "not served in this region"))
        }
        (403, _) => Some(Verdict::bad_key(refusal)),
        (503, _) => Some(Verdict::busy()),
        _ => None,
    }
}

fn details<'r>(refusal: &'r Refusal<'_>, kind: &str) -> impl Iterator<Item = &'r Value> {
    let details = refusal.body["details"].as_array().into_iter().flatten();
    details.filter(move |d| d["@type"].as_str().is_some_and(|t| t.ends_with(kind)))
}

fn has_reason(refusal: &Refusal<'_>, reason: &str) -> bool {
    details(refusal, "ErrorInfo").any(|d| d["reason"] == reason)
}

fn limited(refusal: &Refusal<'_>) -> Verdict {
    let violations: Vec<&Value> =
        details(refusal, "QuotaFailure").filter_map(|d| d["violations"].as_array()).flatten().collect();
    let named: Vec<(Limit, Option<i64>)> =
        violations.iter().filter_map(|v| Some((window(v["quotaId"].as_str()?)?, value(v)))).collect();
    // `limit: 0`: the model is not on this plan. The value is then missing, and only the text has the figure.
    let nothing = named.iter().any(|(_, max)| *max == Some(0)) || refusal.message.contains("limit: 0");
    if nothing && named.iter().all(|(_, max)| max.unwrap_or(0) == 0) {
        return Verdict::gone(refusal, "limit 0");
    }
    let delay = details(refusal, "RetryInfo")
        .find_map(|d| hints::duration_ms(d["retryDelay"].as_str()?))
        .or_else(|| refusal.retry_after_ms());
    // Of several windows the longest decides: it opens last.
    let Some((limit, _)) = named.iter().max_by_key(|(limit, _)| limit.span_ms()) else {
        return Verdict::limited_unnamed(CooldownScope::AccountModel, delay, "429");
    };
    let wait = delay.filter(|ms| is_trusted(refusal, *limit, *ms));
    named.iter().fold(Verdict::limited(refusal, *limit, wait), |verdict, (limit, max)| {
        // Nothing is left, but when it comes back the delay says better than a window filled up now.
        verdict.learned(Hint { limit: *limit, max: *max, remaining: None })
    })
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

/// A minute's delay is true; a day's was, until September 2026, only the time to the next minute.
fn is_trusted(refusal: &Refusal<'_>, limit: Limit, delay_ms: i64) -> bool {
    let told = &refusal.candidate.provider.wire.retry_trusted_over_s;
    let over = told.iter().find(|(l, _)| *l == limit).map(|(_, s)| *s);
    match over.or((limit.span_ms() > 60_000).then_some(TRUSTED_OVER_S)) {
        Some(over_s) => delay_ms > over_s * 1_000,
        None => true,
    }
}
