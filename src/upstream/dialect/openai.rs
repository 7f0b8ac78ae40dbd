//! Any OpenAI-compatible server: what statuses, common codes and common texts mean.

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Limit},
    upstream::{error_response::ErrorResponse, hints},
};

/// Texts of a model that cannot answer right now.
const BUSY: [&str; 8] =
    ["overloaded", "capacity", "high demand", "high traffic", "server busy", "loading model", "queue", "is busy"];
/// Texts of a prompt that is longer than the context: OpenAI, vLLM, llama.cpp, LM Studio, LiteLLM and kin.
const CONTEXT: [&str; 9] = [
    "context length",
    "context size",
    "context window",
    "context_length_exceeded",
    "exceeds the maximum number of tokens",
    "reduce the length",
    "too large for model",
    "prompt is too long",
    "exceeds max length",
];
const NO_SUCH_MODEL: [&str; 6] = [
    "model_not_found",
    "model_decommissioned",
    "model_unavailable",
    "model_archived",
    "invalid_model",
    "model_not_available",
];

pub(crate) fn classify(error: &ErrorResponse<'_>) -> Classification {
    if error.status == 403 && error.plain {
        return Classification::broken(); // a bot filter in front of it, not the key: `error code: 1010`
    }
    match error.status {
        401 => Classification::bad_key(error),
        402 | 404 | 410 => Classification::gone(error, ""),
        403 => forbidden(error),
        408 => Classification::timed_out(),
        413 => Classification::too_large(),
        429 => too_many(error),
        498 => Classification::busy(),
        503 | 529 if error.says(&BUSY) => Classification::busy(),
        400..=499 => bad_request(error),
        _ => Classification::broken(),
    }
}

fn bad_request(error: &ErrorResponse<'_>) -> Classification {
    if is_context(error) {
        Classification::context()
    } else if error.code_is(&["invalid_api_key", "wrong_api_key"]) || error.says(&["invalid api key"]) {
        Classification::bad_key(error)
    } else if error.code_is(&NO_SUCH_MODEL) {
        Classification::gone(error, "no such model")
    } else {
        Classification::rejected()
    }
}

/// Longer than the model's context.
pub(crate) fn is_context(error: &ErrorResponse<'_>) -> bool {
    error.code_is(&["context_length_exceeded"]) || error.says(&CONTEXT)
}

/// A plan, a moderation or a key.
fn forbidden(error: &ErrorResponse<'_>) -> Classification {
    if error.says(&["moderation", "flagged", "content policy", "content_policy", "safety"]) {
        Classification::rejected()
    } else if error.says(&["key", "token", "credential", "authoriz", "authentic"]) {
        Classification::bad_key(error)
    } else if error.says(&["tier", "plan", "subscription", "upgrade", "model", "region", "country", "location"]) {
        Classification::gone(error, "")
    } else {
        Classification::bad_key(error)
    }
}

/// By the one window with nothing left, else unnamed.
pub(crate) fn too_many(error: &ErrorResponse<'_>) -> Classification {
    if error.says(&BUSY) {
        return Classification::busy();
    }
    match spent_window(error) {
        Some(limit) => Classification::limited(error, limit, wait(error, limit)),
        None => Classification::limited_unnamed(CooldownScope::AccountModel, error.retry_after_ms(), "429"),
    }
}

/// The one window that the headers say is empty.
pub(crate) fn spent_window(error: &ErrorResponse<'_>) -> Option<Limit> {
    let hints = hints::from_headers(&error.candidate.provider.wire, error.headers, None);
    let mut empty = hints.iter().filter(|h| h.remaining == Some(0));
    let first = empty.next()?;
    empty.next().is_none().then_some(first.limit)
}

/// The reset of that window, else `retry-after`.
pub(crate) fn wait(error: &ErrorResponse<'_>, limit: Limit) -> Option<i64> {
    hints::reset_in_ms(&error.candidate.provider.wire, error.headers, limit, error.now_ms)
        .or_else(|| error.retry_after_ms())
}
