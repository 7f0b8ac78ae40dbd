//! Z.AI: exact codes, most of them with a 429.

use jiff::{civil::DateTime, tz::Offset};

use super::classification::Classification;
use crate::{
    domain::{
        CooldownScope, Limit, Scope,
        time::{DAY_MS, HOUR_MS},
    },
    upstream::error_response::ErrorResponse,
};

/// Wait for a slot. Excess calls are refused within 0.4 s, not queued.
const SLOT_MS: i64 = 1_000;
/// A later reset is ignored.
const MAX_WAIT_MS: i64 = 40 * DAY_MS;

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match error.code.as_deref()? {
        "1302" => Some(Classification::limited(error, Limit::Concurrency, Scope::Model, Some(SLOT_MS))),
        "1305" => Some(Classification::busy()),
        "1308" => Some(account(resets_in_ms(error).unwrap_or(HOUR_MS), "429_allowance")),
        "1310" => Some(account(resets_in_ms(error).unwrap_or(6 * HOUR_MS), "429_week")),
        "1113" => Some(Classification::gone(error, "paid model")),
        "1309" | "1314" => Some(Classification::gone(error, "expired")),
        "1311" => Some(Classification::gone(error, "no access")),
        "1313" => Some(Classification::gone(error, "fair use")),
        "1214" => Some(Classification::gone(error, "no such model")),
        "1261" => Some(Classification::context()),
        "1000" | "1001" | "1002" | "1003" | "1004" => Some(Classification::bad_key(error)),
        _ => None,
    }
}

fn account(wait_ms: i64, cause: &str) -> Classification {
    Classification::limited_unnamed(CooldownScope::Account, Some(wait_ms), cause)
}

/// The time until `… Your limit will reset at 2026-11-22 18:30:00`, which is in Beijing's time zone.
fn resets_in_ms(error: &ErrorResponse<'_>) -> Option<i64> {
    let (_, at) = error.message.split_once("reset at ")?;
    let at: DateTime = at.get(..19)?.parse().ok()?;
    let at = Offset::constant(8).to_timestamp(at).ok()?.as_millisecond();
    Some(at - error.now_ms).filter(|ms| (1..MAX_WAIT_MS).contains(ms))
}
