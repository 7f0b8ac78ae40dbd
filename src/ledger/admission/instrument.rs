//! Tracing for `admit` calls: one span per call, with its outcome as attributes.

use std::{future::Future, pin::Pin};

use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{
    lease::Lease,
    refusal::{Refusal, RefusedBy},
    request::Admission,
};
use crate::{
    ledger::error::LedgerError,
    telemetry::{AdmitSpan, SpanExt},
};

/// The outcome of one round of an admission.
pub(super) enum Round {
    Done(Admission),
    /// Enqueued under this ticket, at this place: try again after `wait_ms`.
    Wait {
        ticket: std::sync::Arc<str>,
        wait_ms: i64,
        place: String,
    },
    /// Try again after this hold.
    Hold(i64),
    /// Try again after a `sync`.
    Sync,
    /// Try again without the ticket, under a new id.
    Restart,
    /// Granted too late to be used, or from a state without the settlement before it: give the lease back, and try again
    /// under a new id.
    GiveBack(Lease),
}

type RoundResult = Result<Round, LedgerError>;

/// Runs one round inside a span of its own.
pub(super) async fn traced(round: Pin<&mut impl Future<Output = RoundResult>>) -> RoundResult {
    let call = AdmitSpan::begin();
    let result = round.instrument(call.span().clone()).await;
    let outcome = record_outcome(call.span(), &result);
    call.finish(outcome);
    result
}

/// Records a round that ran in a call for several tickets, which was sent at this instant.
pub(super) fn record(sent: Instant, result: RoundResult) -> RoundResult {
    let call = AdmitSpan::begin_at(sent);
    let outcome = record_outcome(call.span(), &result);
    call.finish(outcome);
    result
}

/// Writes the outcome to the span; returns its name, one of a closed set.
fn record_outcome(span: &Span, result: &RoundResult) -> &'static str {
    match result {
        Ok(Round::Done(Admission::Granted(lease))) => {
            if !span.is_disabled() {
                span.set("tollfree.candidate", lease.candidate().name.clone());
                span.set("tollfree.account", lease.candidate().account.id.clone());
            }
            "granted"
        }
        Ok(Round::Done(Admission::Refused(refusal))) => {
            if !span.is_disabled() {
                record_refusal(span, refusal);
            }
            "refused"
        }
        Ok(Round::Wait { wait_ms, .. }) => {
            span.set("tollfree.wait_ms", *wait_ms);
            "waits"
        }
        Ok(_) => "again",
        Err(LedgerError::Unreachable { .. }) => {
            span.set_error("ledger_unavailable");
            "unreachable"
        }
        Err(_) => {
            span.set_error("internal_error");
            "failed"
        }
    }
}

fn record_refusal(span: &Span, refusal: &Refusal) {
    let by = if refusal.by == RefusedBy::Client { "client" } else { "budget" };
    span.set("tollfree.refused_by", by);
    span.set("tollfree.retry_ms", refusal.retry_ms);
    let reasons = refusal.reasons.iter().map(|reason| format!("{};{}", reason.candidate, reason.why));
    span.set_list("tollfree.refused", &reasons.collect::<Vec<_>>());
}
