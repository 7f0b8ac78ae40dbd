//! Groq: the window stands in the message; a request larger than a whole window is a 413 with the code of a 429.

use crate::{
    domain::{CooldownScope, Hint, Limit},
    upstream::{fault::Verdict, hints, refusal::Refusal},
};

pub(super) fn judge(refusal: &Refusal<'_>) -> Option<Verdict> {
    match (refusal.status, refusal.code.as_deref()) {
        (413, _) => {
            // Its `retry-after` is a trap: waiting never helps.
            let verdict = Verdict::too_large();
            Some(match learned(&refusal.message) {
                Some((Some(limit), hint)) => verdict.learned(Hint { limit, ..hint }),
                _ => verdict,
            })
        }
        (429, _) => limited(refusal),
        // The model wrote a broken call or no JSON: tokens were made.
        (400, Some("tool_use_failed" | "json_validate_failed")) => Some(Verdict::rejected().worked()),
        (503, _) if refusal.says(&["over capacity"]) => Some(Verdict::busy()),
        _ => None,
    }
}

fn limited(refusal: &Refusal<'_>) -> Option<Verdict> {
    let (limit, hint) = learned(&refusal.message)?;
    let wait = after(&refusal.message, "try again in ")
        .and_then(|rest| hints::duration_ms(rest.split([' ', ',']).next()?.trim_end_matches('.')))
        .or_else(|| refusal.retry_after_ms());
    Some(match limit {
        Some(limit) => Verdict::limited(refusal, limit, wait).learned(Hint { limit, ..hint }),
        None => Verdict::limited_unnamed(CooldownScope::AccountModel, wait, "429"),
    })
}

/// `… on tokens per minute (TPM): Limit 8000, Used 2591, Requested 5863.` teaches the true limit and what is left.
/// The limit is `None` where the window is none that we keep (OTPM, audio seconds).
fn learned(message: &str) -> Option<(Option<Limit>, Hint)> {
    let named = after(message, "(")?.split_once(')')?.0;
    let limit = match named {
        "TPM" => Some(Limit::Tpm),
        "ITPM" => Some(Limit::Itpm),
        "TPD" => Some(Limit::Tpd),
        "RPM" => Some(Limit::Rpm),
        "RPD" => Some(Limit::Rpd),
        "OTPM" | "ASH" | "ASD" => None,
        _ => return None,
    };
    let max = number(message, "Limit ");
    let remaining = max.zip(number(message, "Used ")).map(|(max, used)| (max - used).max(0));
    Some((limit, Hint { limit: limit.unwrap_or(Limit::Tpm), max, remaining }))
}

fn number(message: &str, name: &str) -> Option<i64> {
    let rest = after(message, name)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

fn after<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    message.split_once(name).map(|(_, rest)| rest)
}
