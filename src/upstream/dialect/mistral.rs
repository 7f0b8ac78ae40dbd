//! Mistral: three envelopes, neither a reset nor `retry-after`. The exceeded limit is the one without remaining units.

use super::{classification::Classification, openai};
use crate::{
    domain::{Limit, Scope},
    upstream::{error_response::ErrorResponse, hints},
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match (error.status, error.code.as_deref()) {
        (429 | 503, _) if error.says(&["capacity exceeded"]) => Some(Classification::busy()),
        (429 | 503, Some("3505")) => Some(Classification::busy()),
        (429, _) => limited(error),
        (403, _) => Some(Classification::gone(error, "")),
        (400, Some("1500")) => Some(Classification::gone(error, "no such model")),
        (400, Some("3051")) => Some(Classification::context()),
        _ => None,
    }
}

fn limited(error: &ErrorResponse<'_>) -> Option<Classification> {
    if hints::has_zero_limit(&error.candidate.provider.wire, error.headers) {
        return Some(Classification::gone(error, "limit 0")); // never on this plan
    }
    // Older responses have no headers, and their message names the counter.
    let limit = openai::spent_window(error)
        .map(|hint| hint.limit)
        .or_else(|| error.says(&["requests rate limit"]).then_some(Limit::Rpm))
        .or_else(|| error.says(&["tokens rate limit"]).then_some(Limit::Tpm))?;
    Some(Classification::limited(error, limit, Scope::Model, None))
}
