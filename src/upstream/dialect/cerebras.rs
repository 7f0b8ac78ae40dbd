//! Cerebras: flat bodies. Only the message names the limit. `queue_exceeded` means that the model is busy.

use super::{classification::Classification, openai};
use crate::{
    domain::{Limit, Scope},
    upstream::{error_response::ErrorResponse, hints},
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match (error.status, error.code.as_deref()) {
        (429, Some("queue_exceeded")) => Some(Classification::busy()),
        (429, _) => limited(error),
        (404, Some("model_archived")) => Some(Classification::gone(error, "archived")),
        _ => None,
    }
}

fn limited(error: &ErrorResponse<'_>) -> Option<Classification> {
    let tokens = error.code_is(&["token_quota_exceeded"]) || error.says(&["tokens per"]);
    let limit = match (tokens, error.message.to_lowercase()) {
        (false, m) if m.contains("per minute") => Limit::Rpm,
        (false, m) if m.contains("per hour") => Limit::Rph,
        (false, m) if m.contains("per day") => Limit::Rpd,
        (true, m) if m.contains("per minute") => Limit::Tpm,
        (true, m) if m.contains("per hour") => Limit::Tph,
        (true, m) if m.contains("per day") => Limit::Tpd,
        _ => openai::spent_window(error)?.limit,
    };
    let wire = &error.candidate.provider.wire;
    let reset = hints::reset_in_ms(wire, error.headers, (limit, Scope::Model), error.now_ms);
    Some(Classification::limited(error, limit, Scope::Model, reset.or_else(|| error.retry_after_ms())))
}
