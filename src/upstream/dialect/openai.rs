//! Any OpenAI-compatible server: the meaning of statuses, common codes and common texts.

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Hint, Limit, Scope, time::HOUR_MS},
    upstream::{error_response::ErrorResponse, hints, retry_after},
};

/// Texts of a model that is overloaded.
const BUSY: [&str; 8] =
    ["overloaded", "capacity", "high demand", "high traffic", "server busy", "loading model", "queue", "is busy"];
/// Texts of a prompt that exceeds the context, by OpenAI, vLLM, llama.cpp, LM Studio, LiteLLM, xAI, Moonshot, Bedrock, Anthropic,
/// TGI, Qwen and others.
const CONTEXT: [&str; 17] = [
    "context length",
    "context size",
    "context window",
    "context_length_exceeded",
    "exceeds the maximum number of tokens",
    "reduce the length",
    "too large for model",
    "prompt is too long",
    "exceeds max length",
    "longer than the maximum model length",
    "maximum prompt length",
    "exceeded model token limit",
    "input is too long",
    "exceed context limit",
    "`inputs` tokens + `max_new_tokens`",
    "range of input length",
    "too many tokens",
];
/// The free usage of `OpenCode` Zen comes back after six hours at the earliest.
const FREE_USAGE_MS: i64 = 6 * HOUR_MS;
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
        return Classification::broken(); // a bot filter in front of the provider refused the request, not the key
    }
    if is_credit_spent(error) {
        return Classification::credit_spent(error);
    }
    match error.status {
        // Some servers report a prompt that is too long as their own failure.
        500..=599 if is_context(error) => Classification::context(),
        401 => Classification::bad_key(error),
        404 if error.candidate.provider.custom => Classification::not_found(),
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

/// The prompt exceeds the model's context.
pub(crate) fn is_context(error: &ErrorResponse<'_>) -> bool {
    // A router's own message may be only that its provider has failed.
    let says_raw = |raw: &str| {
        let raw = raw.to_lowercase();
        CONTEXT.iter().any(|words| raw.contains(words))
    };
    error.code_is(&["context_length_exceeded"])
        || error.says(&CONTEXT)
        || error.body["metadata"]["raw"].as_str().is_some_and(says_raw)
}

/// The account has money for a month, and it is spent.
fn is_credit_spent(error: &ErrorResponse<'_>) -> bool {
    let words = ["credit", "insufficient funds", "insufficient_funds", "balance", "payment"];
    error.candidate.provider.wire.monthly_credit && matches!(error.status, 402 | 403 | 429) && error.says(&words)
}

/// The cause of a 403: a plan, a moderation or a key.
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

/// A 429 of the only limit without remaining units, otherwise of an unnamed one.
pub(crate) fn too_many(error: &ErrorResponse<'_>) -> Classification {
    if error.says(&BUSY) {
        return Classification::busy();
    }
    // A model that is not free any more.
    if error.says(&["insufficient balance"]) {
        return Classification::gone(error, "paid model");
    }
    // OpenCode Zen counts by address, and says neither which window nor until when.
    if error.kind.as_deref() == Some("FreeUsageLimitError") {
        let wait_ms = error.retry_after_ms().unwrap_or(FREE_USAGE_MS);
        return Classification::limited_unnamed(CooldownScope::Account, Some(wait_ms), "429");
    }
    if let Some(Hint { limit, scope, .. }) = spent_window(error) {
        return Classification::limited(error, limit, scope, wait(error, limit, scope));
    }
    let wait_ms = error.retry_after_ms().or_else(|| wait_in_message(&error.message)).or_else(|| error.resets_in_ms());
    Classification::limited_unnamed(CooldownScope::AccountModel, wait_ms, "429")
}

/// The wait that a message states: `try again in 20s`, `retry after 1m30s`, `Please wait 5 seconds`.
fn wait_in_message(message: &str) -> Option<i64> {
    let message = message.to_lowercase();
    let rest =
        ["again in ", "again after ", "retry in ", "retry after ", "resets in ", "reset in ", "available in ", "wait "]
            .iter()
            .find_map(|words| message.split_once(words).map(|(_, rest)| rest))?;
    let first = rest.split_whitespace().next()?.trim_end_matches(['.', ',', ';', ')']);
    hints::duration_ms(first).or_else(|| retry_after::of_words(rest))
}

/// The only limit without remaining units by the headers.
pub(crate) fn spent_window(error: &ErrorResponse<'_>) -> Option<Hint> {
    let hints = hints::from_headers(&error.candidate.provider.wire, error.headers, None);
    let mut empty = hints.into_iter().filter(|h| h.remaining == Some(0));
    let first = empty.next()?;
    empty.next().is_none().then_some(first)
}

/// The reset of a limit in a scope, otherwise `retry-after`.
pub(crate) fn wait(error: &ErrorResponse<'_>, limit: Limit, scope: Scope) -> Option<i64> {
    hints::reset_in_ms(&error.candidate.provider.wire, error.headers, (limit, scope), error.now_ms)
        .or_else(|| error.retry_after_ms())
}
