//! Why there is no answer, in words for the caller: who is out of what, which window, until when.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::edge::error::ApiError,
    catalog::NotFound,
    domain::{Limit, window::go_duration},
    flow::FlowError,
    ledger::{ClientUsage, LedgerError, Refusal, RefusalReason, RefusedBy},
    plan::PlanError,
};

/// Longer than any window we know: it will not open by itself.
const NEVER_MS: i64 = 400 * 86_400_000;

/// What the caller of a model is told.
pub fn told(error: FlowError, asked: &str) -> ApiError {
    match error {
        FlowError::Plan(error) => unplanned(error),
        FlowError::Refused(refusal) => refused(&refusal, asked),
        FlowError::Ledger(error) => ledger(&error),
        FlowError::Key(why) => ApiError::InvalidKey(why.to_string().into()),
        FlowError::Rejected { status, provider, message, code } => {
            ApiError::Rejected { status, provider, message, code }
        }
        FlowError::AllFailed { timed_out, .. } => {
            let message = error.to_string();
            if timed_out { ApiError::TimedOut { message } } else { ApiError::AllFailed { message } }
        }
    }
}

/// Where the caller's own windows stand, when they refused it.
pub fn client_usage(error: &FlowError) -> Option<ClientUsage> {
    match error {
        FlowError::Refused(refusal) => refusal.client,
        _ => None,
    }
}

pub fn ledger(error: &LedgerError) -> ApiError {
    match error {
        LedgerError::Unreachable { retry_ms } => ApiError::LedgerAway {
            message: "The shared budget cannot be reached, so nothing was sent.".to_owned(),
            retry_ms: *retry_ms,
        },
        LedgerError::Internal(what) => {
            tracing::error!(error = %what, "The ledger answered unexpectedly: {what}");
            ApiError::LedgerAway {
                message: "The shared budget answered unexpectedly, so nothing was sent.".to_owned(),
                retry_ms: 1_000,
            }
        }
    }
}

/// What only the ledger can tell, and nobody has asked for a model.
pub fn unread(error: &LedgerError) -> ApiError {
    match ledger(error) {
        ApiError::LedgerAway { retry_ms, .. } => {
            ApiError::LedgerAway { message: "The shared state cannot be read now.".to_owned(), retry_ms }
        }
        other => other,
    }
}

fn unplanned(error: PlanError) -> ApiError {
    match error {
        PlanError::NotFound(not_found) => no_model(&not_found),
        PlanError::NotAllowed { model } => ApiError::ModelNotAllowed(model),
        PlanError::Unsupported { param, message } => ApiError::Unsupported { param: Some(param), message },
        PlanError::ContextTooLong { .. } => ApiError::ContextTooLong { message: error.to_string() },
    }
}

pub fn no_model(error: &NotFound) -> ApiError {
    ApiError::ModelNotFound(error.to_string())
}

fn refused(refusal: &Refusal, asked: &str) -> ApiError {
    let now = Timestamp::now();
    let retry_ms = refusal.retry_ms;
    let about = if refusal.exact { "" } else { "about " };
    match refusal.by {
        RefusedBy::Client => {
            let used = refusal.reasons.first().map_or_else(|| "quota is used".to_owned(), used);
            let message = format!("Your {used}. The next request is admitted in {about}{}.", until(now, retry_ms));
            ApiError::ClientQuota { message, retry_ms }
        }
        RefusedBy::Budget => {
            let is_full = |line: &RefusalReason| line.why.parse::<Limit>().is_ok();
            let all = if refusal.reasons.iter().all(is_full) {
                format!("Every candidate for `{asked}` is at its limit.")
            } else {
                format!("No candidate for `{asked}` can be asked now.")
            };
            let opens = until(now, retry_ms);
            let mut message = if retry_ms >= NEVER_MS { all } else { format!("{all} Room opens in {about}{opens}.") };
            for line in &refusal.reasons {
                // Writing to a string cannot fail.
                let _ = write!(message, "\n- {}: {}", line.candidate, why(line, now));
            }
            ApiError::NoBudget { message, retry_ms }
        }
    }
}

/// One candidate: what stands in the way, and until when.
fn why(line: &RefusalReason, now: Timestamp) -> String {
    let opens = until(now, line.retry_in_ms);
    if let Some(cause) = line.why.strip_prefix("shut: ") {
        return format!("left alone after {cause}; asked again in {opens}");
    }
    match line.why.as_str() {
        "off" => "switched off".to_owned(),
        "breaker" => format!("failed repeatedly; asked again in {opens}"),
        "probe" => format!("failed repeatedly, one request is trying it out; asked again in {opens}"),
        _ => format!("{}; opens in {opens}", used(line)),
    }
}

/// `30 requests per minute are used`
fn used(line: &RefusalReason) -> String {
    let what = match line.why.parse::<Limit>() {
        Ok(Limit::Concurrency) => return format!("{} calls at a time are running", number(line.max)),
        Ok(limit) => words(limit),
        Err(()) => line.why.as_str(),
    };
    format!("{} {what} are used", number(line.max))
}

fn number(max: Option<i64>) -> String {
    max.map_or_else(|| "last".to_owned(), |max| max.to_string())
}

fn words(limit: Limit) -> &'static str {
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
        Limit::Concurrency => "calls at a time",
    }
}

/// `6m0s (14:03:05 UTC)`; with the date where it is another day.
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
    fn a_refusal_names_each_candidate_its_window_and_when_it_opens() {
        let refusal = Refusal {
            by: RefusedBy::Budget,
            retry_ms: 12_000,
            exact: true,
            reasons: vec![
                line("groq/llama", "rpm", Some(30), 12_000),
                line("gemini/flash", "shut: 429_rpd", None, 90_000),
                line("mistral/small", "breaker", None, 30_000),
                line("cerebras/qwen", "off", None, i64::MAX),
            ],
            client: None,
        };
        let ApiError::NoBudget { message, retry_ms } = refused(&refusal, "free") else { panic!("another error") };
        assert_eq!(retry_ms, 12_000);
        let lines: Vec<&str> = message.lines().collect();
        assert!(lines[0].starts_with("No candidate for `free` can be asked now. Room opens in 12s ("), "{message}");
        assert!(lines[1].starts_with("- groq/llama: 30 requests per minute are used; opens in 12s ("), "{message}");
        assert!(lines[2].starts_with("- gemini/flash: left alone after 429_rpd; asked again in 1m30s"), "{message}");
        assert!(lines[3].starts_with("- mistral/small: failed repeatedly"), "{message}");
        assert_eq!(lines[4], "- cerebras/qwen: switched off");
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let refusal = Refusal {
            by: RefusedBy::Client,
            retry_ms: 1_500,
            exact: false,
            reasons: vec![line("anon:127.0.0.1", "rpm", Some(2), 1_500)],
            client: None,
        };
        let ApiError::ClientQuota { message, .. } = refused(&refusal, "free") else { panic!("another error") };
        assert!(
            message.starts_with("Your 2 requests per minute are used. The next request is admitted in about 1.5s (")
        );
    }

    #[test]
    fn another_day_is_named() {
        let now: Timestamp = "2026-11-22T23:59:50Z".parse().unwrap();
        assert_eq!(until(now, 5_000), "5s (23:59:55 UTC)");
        assert_eq!(until(now, 70_000), "1m10s (2026-11-23 00:01:00 UTC)");
    }
}
