//! Cerebras: flat bodies; the window is named only by the words of the message; "queue" means busy, not spent.

use super::openai;
use crate::{
    domain::Limit,
    upstream::{fault::Verdict, hints, refusal::Refusal},
};

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match (refusal.status, refusal.code.as_deref()) {
        (429, Some("queue_exceeded")) => Some(Verdict::busy()),
        (429, _) => limited(refusal),
        (404, Some("model_archived")) => Some(Verdict::gone(refusal, "archived")),
        _ => None,
    }
}

fn limited(refusal: &Refusal<'_>) -> Option<Verdict> {
    let tokens = refusal.code_is(&["token_quota_exceeded"]) || refusal.says(&["tokens per"]);
    let limit = match (tokens, refusal.message.to_lowercase()) {
        (false, m) if m.contains("per minute") => Limit::Rpm,
        (false, m) if m.contains("per hour") => Limit::Rph,
        (false, m) if m.contains("per day") => Limit::Rpd,
        (true, m) if m.contains("per minute") => Limit::Tpm,
        (true, m) if m.contains("per hour") => Limit::Tph,
        (true, m) if m.contains("per day") => Limit::Tpd,
        _ => openai::spent_window(refusal)?,
    };
    let wire = &refusal.candidate.provider.wire;
    let reset = hints::opens_in_ms(wire, refusal.headers, limit, refusal.now_ms);
    Some(Verdict::limited(refusal, limit, reset.or_else(|| refusal.retry_after_ms())))
}
