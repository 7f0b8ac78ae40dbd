//! Cohere: the message names the window; a spent trial month comes back on the first.

use crate::{
    domain::Limit,
    upstream::{fault::Verdict, refusal::Refusal},
};

const MINUTE_MS: i64 = 60_000;

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    if refusal.status != 429 {
        return None;
    }
    if refusal.says(&["/ month", "per month"]) {
        return Some(Verdict::limited(refusal, Limit::Rpmonth, None));
    }
    let wait = refusal.retry_after_ms().unwrap_or(MINUTE_MS);
    refusal.says(&["/ minute", "per minute"]).then(|| Verdict::limited(refusal, Limit::Rpm, Some(wait)))
}
