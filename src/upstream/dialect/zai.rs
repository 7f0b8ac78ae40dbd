//! Z.AI: exact codes, most of them behind a 429.

use jiff::{civil::DateTime, tz::Offset};

use crate::{
    domain::{CooldownScope, Limit},
    upstream::{fault::Verdict, refusal::Refusal},
};

/// Refused within 0.4 s, not queued: a slot frees when an answer ends.
const SLOT_MS: i64 = 1_000;
/// A named time further away than this is not believed.
const LONGEST_MS: i64 = 40 * 86_400_000;
const HOUR_MS: i64 = 3_600_000;

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match refusal.code.as_deref()? {
        "1302" => Some(Verdict::limited(refusal, Limit::Concurrency, Some(SLOT_MS))),
        "1305" => Some(Verdict::busy()),
        "1308" => Some(account(resets_in_ms(refusal).unwrap_or(HOUR_MS), "429_allowance")),
        "1310" => Some(account(resets_in_ms(refusal).unwrap_or(6 * HOUR_MS), "429_week")),
        "1113" => Some(Verdict::gone(refusal, "paid model")),
        "1309" | "1314" => Some(Verdict::gone(refusal, "expired")),
        "1311" => Some(Verdict::gone(refusal, "no access")),
        "1313" => Some(Verdict::gone(refusal, "fair use")),
        "1214" => Some(Verdict::gone(refusal, "no such model")),
        "1261" => Some(Verdict::context()),
        "1000" | "1001" | "1002" | "1003" | "1004" => Some(Verdict::bad_key(refusal)),
        _ => None,
    }
}

fn account(wait_ms: i64, cause: &str) -> Verdict {
    Verdict::limited_unnamed(CooldownScope::Account, Some(wait_ms), cause)
}

/// `… Your limit will reset at 2026-11-22 18:30:00`, on Beijing's clock.
fn resets_in_ms(refusal: &Refusal<'_>) -> Option<i64> {
    let (_, at) = refusal.message.split_once("reset at ")?;
    let at: DateTime = at.get(..19)?.parse().ok()?;
    let at = Offset::constant(8).to_timestamp(at).ok()?.as_millisecond();
    Some(at - refusal.now_ms).filter(|ms| (1..LONGEST_MS).contains(ms))
}
