//! Any OpenAI-compatible server: what statuses, common codes and common texts mean.

use crate::{
    domain::{CooldownScope, Limit},
    upstream::{fault::Verdict, hints, refusal::Refusal},
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

pub(crate) fn judge(refusal: &Refusal<'_>) -> Verdict {
    if refusal.status == 403 && refusal.plain {
        return Verdict::broken(); // a bot filter in front of it, not the key: `error code: 1010`
    }
    match refusal.status {
        401 => Verdict::bad_key(refusal),
        402 | 404 | 410 => Verdict::gone(refusal, ""),
        403 => forbidden(refusal),
        408 => Verdict::timed_out(),
        413 => Verdict::too_large(),
        429 => too_many(refusal),
        498 => Verdict::busy(),
        503 | 529 if refusal.says(&BUSY) => Verdict::busy(),
        400..=499 => bad_request(refusal),
        _ => Verdict::broken(),
    }
}

fn bad_request(refusal: &Refusal<'_>) -> Verdict {
    if is_context(refusal) {
        Verdict::context()
    } else if refusal.code_is(&["invalid_api_key", "wrong_api_key"]) || refusal.says(&["invalid api key"]) {
        Verdict::bad_key(refusal)
    } else if refusal.code_is(&NO_SUCH_MODEL) {
        Verdict::gone(refusal, "no such model")
    } else {
        Verdict::rejected()
    }
}

/// Longer than the model's context.
pub(crate) fn is_context(refusal: &Refusal<'_>) -> bool {
    refusal.code_is(&["context_length_exceeded"]) || refusal.says(&CONTEXT)
}

/// A plan, a moderation or a key.
fn forbidden(refusal: &Refusal<'_>) -> Verdict {
    if refusal.says(&["moderation", "flagged", "content policy", "content_policy", "safety"]) {
        Verdict::rejected()
    } else if refusal.says(&["key", "token", "credential", "authoriz", "authentic"]) {
        Verdict::bad_key(refusal)
    } else if refusal.says(&["tier", "plan", "subscription", "upgrade", "model", "region", "country", "location"]) {
        Verdict::gone(refusal, "")
    } else {
        Verdict::bad_key(refusal)
    }
}

/// By the one window with nothing left, else unnamed.
pub(crate) fn too_many(refusal: &Refusal<'_>) -> Verdict {
    if refusal.says(&BUSY) {
        return Verdict::busy();
    }
    match spent_window(refusal) {
        Some(limit) => Verdict::limited(refusal, limit, wait(refusal, limit)),
        None => Verdict::limited_unnamed(CooldownScope::AccountModel, refusal.retry_after_ms(), "429"),
    }
}

/// The one window that the headers say is empty.
pub(crate) fn spent_window(refusal: &Refusal<'_>) -> Option<Limit> {
    let hints = hints::read(&refusal.candidate.provider.wire, refusal.headers, None);
    let mut empty = hints.iter().filter(|h| h.remaining == Some(0));
    let first = empty.next()?;
    empty.next().is_none().then_some(first.limit)
}

/// The reset of that window, else `retry-after`.
pub(crate) fn wait(refusal: &Refusal<'_>, limit: Limit) -> Option<i64> {
    hints::opens_in_ms(&refusal.candidate.provider.wire, refusal.headers, limit, refusal.now_ms)
        .or_else(|| refusal.retry_after_ms())
}
