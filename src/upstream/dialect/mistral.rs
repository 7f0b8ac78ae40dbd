//! Mistral: three envelopes, no reset and no `retry-after` ever; which window refused is told by what is left.

use super::openai;
use crate::{
    domain::Limit,
    upstream::{fault::Verdict, hints, refusal::Refusal},
};

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match (refusal.status, refusal.code.as_deref()) {
        (429 | 503, _) if refusal.says(&["capacity exceeded"]) => Some(Verdict::busy()),
        (429 | 503, Some("3505")) => Some(Verdict::busy()),
        (429, _) => limited(refusal),
        (403, _) => Some(Verdict::gone(refusal, "")),
        (400, Some("1500")) => Some(Verdict::gone(refusal, "no such model")),
        (400, Some("3051")) => Some(Verdict::context()),
        _ => None,
    }
}

fn limited(refusal: &Refusal<'_>) -> Option<Verdict> {
    if hints::name_zero(&refusal.candidate.provider.wire, refusal.headers) {
        return Some(Verdict::gone(refusal, "limit 0")); // never on this plan
    }
    // Older bodies come without headers and name the counter.
    let limit = openai::spent_window(refusal)
        .or_else(|| refusal.says(&["requests rate limit"]).then_some(Limit::Rpm))
        .or_else(|| refusal.says(&["tokens rate limit"]).then_some(Limit::Tpm))?;
    Some(Verdict::limited(refusal, limit, None))
}
