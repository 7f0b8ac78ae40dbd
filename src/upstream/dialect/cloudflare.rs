//! Cloudflare Workers AI: the code decides; the day's neurons come back at midnight UTC.

use crate::{
    domain::{CooldownScope, Limit},
    upstream::{fault::Verdict, refusal::Refusal},
};

const DAY_MS: i64 = 86_400_000;

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match refusal.code.as_deref()? {
        "3036" | "4006" => {
            let midnight = DAY_MS - refusal.now_ms.rem_euclid(DAY_MS);
            Some(Verdict::limited_unnamed(CooldownScope::Account, Some(midnight), "429_day"))
        }
        "3040" => Some(Verdict::busy()),
        "3021" => Some(Verdict::limited(refusal, Limit::Rpm, refusal.retry_after_ms())),
        "5007" | "3042" => Some(Verdict::gone(refusal, "no such model")),
        "3006" => Some(Verdict::too_large()),
        "3007" => Some(Verdict::timed_out()),
        "5016" | "5018" | "3041" => Some(Verdict::gone(refusal, "not on this plan")),
        "10000" => Some(Verdict::bad_key(refusal)),
        _ => None,
    }
}
