//! Groq: the message names the limit. A request larger than a whole window is a 413 with the code of a 429.

use super::classification::Classification;
use crate::{
    domain::{CooldownScope, Hint, Limit, Scope},
    upstream::{error_response::ErrorResponse, hints},
};

pub(super) fn classify(error: &ErrorResponse<'_>) -> Option<Classification> {
    match (error.status, error.code.as_deref()) {
        (413, _) => {
            // Its `retry-after` is ignored, since waiting never helps.
            let classification = Classification::too_large();
            Some(match stated_limit(&error.message) {
                Some((Some(limit), hint)) => classification.with_hint(Hint { limit, ..hint }),
                _ => classification,
            })
        }
        (429, _) => limited(error),
        // The model generated a broken call or no JSON, so tokens were used.
        (400, Some("tool_use_failed" | "json_validate_failed")) => Some(Classification::rejected().after_work()),
        (503, _) if error.says(&["over capacity"]) => Some(Classification::busy()),
        _ => None,
    }
}

fn limited(error: &ErrorResponse<'_>) -> Option<Classification> {
    let (limit, hint) = stated_limit(&error.message)?;
    let wait = after(&error.message, "try again in ")
        .and_then(|rest| hints::duration_ms(rest.split([' ', ',']).next()?.trim_end_matches('.')))
        .or_else(|| error.retry_after_ms());
    Some(match limit {
        Some(limit) => Classification::limited(error, limit, Scope::Model, wait).with_hint(Hint { limit, ..hint }),
        None => Classification::limited_unnamed(CooldownScope::AccountModel, wait, "429"),
    })
}

/// The limit and the remaining units in `… on tokens per minute (TPM): Limit 8000, Used 2591, Requested 5863.` The limit is
/// `None` where it is not tracked (OTPM).
fn stated_limit(message: &str) -> Option<(Option<Limit>, Hint)> {
    let named = after(message, "(")?.split_once(')')?.0;
    let limit = match named {
        "TPM" => Some(Limit::Tpm),
        "ITPM" => Some(Limit::Itpm),
        "TPD" => Some(Limit::Tpd),
        "RPM" => Some(Limit::Rpm),
        "RPD" => Some(Limit::Rpd),
        "ASH" => Some(Limit::Ash),
        "ASD" => Some(Limit::Asd),
        "OTPM" => None,
        _ => return None,
    };
    let max = number(message, "Limit ");
    let remaining = max.zip(number(message, "Used ")).map(|(max, used)| (max - used).max(0));
    Some((limit, Hint { limit: limit.unwrap_or(Limit::Tpm), scope: Scope::Model, max, remaining }))
}

fn number(message: &str, name: &str) -> Option<i64> {
    let rest = after(message, name)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

fn after<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.split_once(name).map(|(_, rest)| rest)
}
