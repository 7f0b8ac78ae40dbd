//! Builds the [`Fault`] of a failed attempt, with the outcome that all replicas learn from it.

use std::time::Duration;

use reqwest::header::HeaderMap;

use super::{dialect, error_response::ErrorResponse, hints, redact};
use crate::domain::{Candidate, Cooldown, Fault, FaultKind, Health, Hint, Outcome, Usage};

/// The fault of an error response, or of an error inside a 200.
pub(crate) fn from_response(candidate: &Candidate, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = ErrorResponse::new(candidate, status, headers, body);
    let classification = dialect::classify(&error);
    let mut hints = hints::from_headers(&candidate.provider.wire, headers, classification.limit);
    for learned in classification.body_hints {
        match hints.iter_mut().find(|h| (h.limit, h.scope) == (learned.limit, learned.scope)) {
            Some(hint) => {
                hint.max = learned.max.or(hint.max);
                hint.remaining = learned.remaining.or(hint.remaining);
            }
            None => hints.push(learned),
        }
    }
    Fault {
        kind: classification.kind,
        status: Some(error.status),
        label: classification.label.unwrap_or_else(|| status_label(error.status)),
        message: error.message,
        code: error.code,
        outcome: outcome(classification.health, classification.usage, classification.cooldown, hints),
    }
}

fn status_label(status: u16) -> String {
    match status {
        400..=599 => status.to_string(),
        // A redirect or another status that no provider's API uses.
        _ => "malformed".to_owned(),
    }
}

/// The fault of a failure on our side of the wire. `label` is one of the closed vocabulary: `connect`, `reset`, `timeout`,
/// `empty`, `malformed`, `stream_error`.
pub(crate) fn observed(candidate: &Candidate, label: &str, message: &str) -> Fault {
    let timed_out = label == "timeout";
    // Nothing was sent.
    let usage = if label == "connect" { Usage::NOT_SENT } else { Usage::UNKNOWN };
    Fault {
        kind: if timed_out { FaultKind::TimedOut } else { FaultKind::Broken },
        status: None,
        label: label.to_owned(),
        message: redact::message(candidate, message),
        code: None,
        outcome: outcome(Health::ProviderFailed, usage, None, Vec::new()),
    }
}

/// A reused connection closed before the first byte of a response. Servers close idle connections at any time, so this says
/// nothing about the provider's health.
pub(crate) fn stale_connection(candidate: &Candidate, message: &str) -> Fault {
    let fault = observed(candidate, "reset", message);
    Fault { kind: FaultKind::StaleConnection, outcome: Outcome::unknown(), ..fault }
}

/// This replica has no file descriptor, memory or port for a connection: nothing was sent, and the provider has not failed.
pub(crate) fn own_failure(candidate: &Candidate, message: &str) -> Fault {
    let fault = observed(candidate, "connect", message);
    Fault { outcome: outcome(Health::Unknown, Usage::NOT_SENT, None, Vec::new()), ..fault }
}

/// This replica has no memory for a response. The provider has not failed.
pub(crate) fn no_memory(candidate: &Candidate) -> Fault {
    let fault = observed(candidate, "reset", "this gateway has no memory left for the response");
    Fault { outcome: outcome(Health::Unknown, Usage::UNKNOWN, None, Vec::new()), ..fault }
}

/// A response without content, tool calls or a finish reason.
pub(crate) fn empty_response(candidate: &Candidate) -> Fault {
    observed(candidate, "empty", "the answer has no content")
}

/// No content came in time.
pub(crate) fn timed_out(candidate: &Candidate, after: Duration) -> Fault {
    observed(candidate, "timeout", &format!("no content within {} ms", after.as_millis()))
}

fn outcome(health: Health, usage: Usage, cooldown: Option<Cooldown>, hints: Vec<Hint>) -> Outcome {
    Outcome { health, usage, cooldown, hints, first_token: None }
}

#[cfg(test)]
mod tests;
