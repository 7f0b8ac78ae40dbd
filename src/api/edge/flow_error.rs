//! Turns errors of the flow and the ledger into error responses. A refusal lists each candidate, the limit that is used up
//! and when it becomes available.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::edge::error::ApiError,
    catalog::NotFound,
    domain::{Limit, first_and_more, window::go_duration},
    flow::{FlowError, attempt_log::MAX_LISTED},
    ledger::{ClientUsage, LedgerError, Refusal, RefusalReason, RefusedBy},
    plan::PlanError,
};

/// Longer than any limit window: a wait of this length has no known end.
const NEVER_MS: i64 = 400 * 86_400_000;

/// The error response to a model request. `requested`: the model name of the request.
pub(crate) fn from_flow(error: &FlowError, requested: &str) -> ApiError {
    match error {
        FlowError::Plan(error) => from_plan(error),
        FlowError::Refused(refusal) => from_refusal(refusal, requested),
        FlowError::Ledger(error) => from_ledger(error),
        FlowError::Key(why) => ApiError::InvalidKey(why.to_string().into()),
        FlowError::Rejected { status, provider, message, code } => ApiError::Rejected {
            status: *status,
            provider: provider.clone(),
            message: message.clone(),
            code: code.clone(),
        },
        FlowError::Damaged(message) => ApiError::AllFailed { message: message.clone() },
        FlowError::AllFailed { timed_out, .. } => {
            let message = error.to_string();
            if *timed_out { ApiError::TimedOut { message } } else { ApiError::AllFailed { message } }
        }
    }
}

/// The caller's own limits, where the refusal reports them.
pub(crate) fn client_usage(error: &FlowError) -> Option<ClientUsage> {
    match error {
        FlowError::Refused(refusal) => refusal.client,
        _ => None,
    }
}

pub(crate) fn from_ledger(error: &LedgerError) -> ApiError {
    match error {
        LedgerError::Unreachable { retry_ms } => ApiError::LedgerUnavailable {
            message: "The budget store is unreachable, so no provider was called.".to_owned(),
            retry_ms: *retry_ms,
        },
        LedgerError::Internal(what) => {
            tracing::error!(error = %what, "Unexpected reply from the ledger: {what}");
            ApiError::LedgerUnavailable {
                message: "The budget store sent an unexpected reply, so no provider was called.".to_owned(),
                retry_ms: 1_000,
            }
        }
    }
}

/// Like [`from_ledger`], for requests that only read or change shared state and involve no provider.
pub(crate) fn from_ledger_read(error: &LedgerError) -> ApiError {
    match from_ledger(error) {
        ApiError::LedgerUnavailable { retry_ms, .. } => {
            ApiError::LedgerUnavailable { message: "The budget store is unreachable.".to_owned(), retry_ms }
        }
        other => other,
    }
}

fn from_plan(error: &PlanError) -> ApiError {
    match error {
        PlanError::NotFound(not_found) => model_not_found(not_found),
        PlanError::NotAllowed { model } => ApiError::ModelNotAllowed(model.clone()),
        PlanError::Unsupported { param, message } => {
            ApiError::Unsupported { param: Some(param.clone()), message: message.clone() }
        }
        PlanError::ContextTooLong { .. } => ApiError::ContextTooLong { message: error.to_string() },
    }
}

pub(crate) fn model_not_found(error: &NotFound) -> ApiError {
    ApiError::ModelNotFound(error.to_string())
}

fn from_refusal(refusal: &Refusal, requested: &str) -> ApiError {
    let now = Timestamp::now();
    let retry_ms = refusal.retry_ms;
    let about = if refusal.exact { "" } else { "about " };
    match refusal.by {
        RefusedBy::Client => {
            let exhausted = refusal.reasons.first().map_or_else(|| "quota is used up".to_owned(), exhausted);
            let message = format!("Your {exhausted}. The next request is admitted in {about}{}.", until(now, retry_ms));
            ApiError::ClientQuota { message, retry_ms }
        }
        RefusedBy::Budget => {
            let is_full = |line: &RefusalReason| line.why.parse::<Limit>().is_ok();
            let all = if refusal.is_down() {
                format!("Every candidate for `{requested}` is down.")
            } else if refusal.reasons.iter().all(is_full) {
                format!("Every candidate for `{requested}` is at its limit.")
            } else {
                format!("No candidate for `{requested}` is available.")
            };
            let opens = until(now, retry_ms);
            let mut message = if refusal.reasons.is_empty() {
                format!(
                    "The ledger was too slow to admit this request for `{requested}` in time. Try again in {about}{opens}."
                )
            } else if retry_ms >= NEVER_MS {
                all
            } else {
                format!("{all} The first becomes available in {about}{opens}.")
            };
            let line = |line: &RefusalReason| format!("{}: {}", line.candidate, reason(line, now));
            for line in first_and_more(&refusal.reasons, MAX_LISTED, "… and ", line) {
                // Writing to a `String` cannot fail.
                let _ = write!(message, "\n- {line}");
            }
            if refusal.is_down() {
                ApiError::NoProvider { message, retry_ms }
            } else {
                ApiError::NoBudget { message, retry_ms }
            }
        }
    }
}

/// Why one candidate is unavailable, and until when.
fn reason(line: &RefusalReason, now: Timestamp) -> String {
    let opens = until(now, line.retry_in_ms);
    if let Some(cause) = line.why.strip_prefix("cooldown: ") {
        return format!("in cooldown after {cause}, available in {opens}");
    }
    match line.why.as_str() {
        "off" => "disabled".to_owned(),
        "breaker" => format!("circuit breaker open after repeated failures, next attempt in {opens}"),
        "probe" => format!("circuit breaker half-open while one request probes it, next attempt in {opens}"),
        _ => format!("{}, available in {opens}", exhausted(line)),
    }
}

/// `limit of 30 requests per minute is used up`
fn exhausted(line: &RefusalReason) -> String {
    let max = line.max.map_or_else(String::new, |max| format!("{max} "));
    let unit = match line.why.parse::<Limit>() {
        Ok(limit) => limit_name(limit),
        Err(()) => &line.why,
    };
    format!("limit of {max}{unit} is used up")
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Rps => "requests per second",
        Limit::Rpm => "requests per minute",
        Limit::Rph => "requests per hour",
        Limit::Rpd => "requests per day",
        Limit::Rpmonth => "requests per month",
        Limit::Tps => "tokens per second",
        Limit::Tpm => "tokens per minute",
        Limit::Tph => "tokens per hour",
        Limit::Tpd => "tokens per day",
        Limit::Tpmonth => "tokens per month",
        Limit::Itpm => "input tokens per minute",
        Limit::Ash => "seconds of sound per hour",
        Limit::Asd => "seconds of sound per day",
        Limit::Concurrency => "concurrent requests",
    }
}

/// `6m0s (14:03:05 UTC)`, with the date if that is on another day.
fn until(now: Timestamp, ms: i64) -> String {
    let opens = now.checked_add(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MAX);
    let is_today = opens.strftime("%F").to_string() == now.strftime("%F").to_string();
    let format = if is_today { "%T UTC" } else { "%F %T UTC" };
    format!("{} ({})", go_duration(ms), opens.strftime(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(candidate: &str, why: &str, max: Option<i64>, retry_in_ms: i64) -> RefusalReason {
        RefusalReason { candidate: candidate.into(), why: why.into(), max, retry_in_ms }
    }

    #[test]
    fn a_refusal_lists_each_candidate_its_limit_and_when_it_becomes_available() {
        let refusal = Refusal {
            by: RefusedBy::Budget,
            retry_ms: 12_000,
            exact: true,
            reasons: vec![
                line("groq/llama", "rpm", Some(30), 12_000),
                line("gemini/flash", "cooldown: 429_rpd", None, 90_000),
                line("mistral/small", "breaker", None, 30_000),
                line("cerebras/qwen", "off", None, i64::MAX),
            ],
            client: None,
        };
        let ApiError::NoBudget { message, retry_ms } = from_refusal(&refusal, "free") else { panic!("another error") };
        assert_eq!(retry_ms, 12_000);
        let lines: Vec<&str> = message.lines().collect();
        assert!(
            lines[0].starts_with("No candidate for `free` is available. The first becomes available in 12s ("),
            "{message}"
        );
        assert!(
            lines[1].starts_with("- groq/llama: limit of 30 requests per minute is used up, available in 12s ("),
            "{message}"
        );
        assert!(lines[2].starts_with("- gemini/flash: in cooldown after 429_rpd, available in 1m30s"), "{message}");
        assert!(
            lines[3].starts_with("- mistral/small: circuit breaker open after repeated failures, next attempt in 30s"),
            "{message}"
        );
        assert_eq!(lines[4], "- cerebras/qwen: disabled");
    }

    #[test]
    fn candidates_that_are_down_are_not_called_full() {
        let refusal = |whys: &[&str]| Refusal {
            by: RefusedBy::Budget,
            retry_ms: 9_000,
            exact: true,
            reasons: whys.iter().map(|why| line("lab/m", why, None, 9_000)).collect(),
            client: None,
        };
        for down in [&["breaker"][..], &["probe", "off"], &["cooldown: 404", "cooldown: 401", "breaker"]] {
            let error = from_refusal(&refusal(down), "free");
            assert!(matches!(&error, ApiError::NoProvider { retry_ms: 9_000, .. }), "{down:?}: {error}");
            assert!(error.to_string().starts_with("Every candidate for `free` is down. The first becomes"), "{error}");
        }
        for full in [&["breaker", "rpm"][..], &["cooldown: 429_week"], &["cooldown: 429", "off"], &["429_rpd"]] {
            assert!(matches!(from_refusal(&refusal(full), "free"), ApiError::NoBudget { .. }), "{full:?}");
        }
    }

    #[test]
    fn an_estimated_wait_is_marked_as_such() {
        let refusal = Refusal {
            by: RefusedBy::Client,
            retry_ms: 1_500,
            exact: false,
            reasons: vec![line("anon:127.0.0.1", "rpm", Some(2), 1_500)],
            client: None,
        };
        let ApiError::ClientQuota { message, .. } = from_refusal(&refusal, "free") else { panic!("another error") };
        assert!(message.starts_with(
            "Your limit of 2 requests per minute is used up. The next request is admitted in about 1.5s ("
        ));
    }

    #[test]
    fn a_time_on_another_day_has_its_date() {
        let now: Timestamp = "2026-11-22T23:59:50Z".parse().unwrap();
        assert_eq!(until(now, 5_000), "5s (23:59:55 UTC)");
        assert_eq!(until(now, 70_000), "1m10s (2026-11-23 00:01:00 UTC)");
    }
}
