//! How asking is told while it happens: a span for each question, with what the ledger answered.

use std::{future::Future, pin::Pin, sync::Arc};

use tracing::{Instrument, Span};

use crate::ledger::{
    admission::{
        admit::Answer,
        reply::{Admission, RefusedBy},
    },
    error::LedgerError,
};
use crate::telemetry::{AdmitSpan, SpanExt};

type Answered = Result<(Arc<str>, Answer), LedgerError>;

/// One question and its answer.
pub(super) async fn asked(question: Pin<&mut impl Future<Output = Answered>>) -> Answered {
    let asked = AdmitSpan::begin();
    let answered = question.instrument(asked.span().clone()).await;
    let outcome = tell(asked.span(), &answered);
    asked.finish(outcome);
    answered
}

/// Writes the answer down; its name, of a closed set.
fn tell(span: &Span, answered: &Answered) -> &'static str {
    match answered {
        Ok((_, Answer::Admission(Admission::Granted(lease)))) => {
            if !span.is_disabled() {
                span.set("tollfree.candidate", lease.candidate().name.clone());
                span.set("tollfree.account", lease.candidate().account.id.clone());
            }
            "granted"
        }
        Ok((_, Answer::Admission(Admission::Refused(refusal)))) => {
            if !span.is_disabled() {
                let by = if refusal.by == RefusedBy::Client { "client" } else { "budget" };
                span.set("tollfree.refused_by", by);
                span.set("tollfree.retry_ms", refusal.retry_ms);
                let lines = refusal.lines.iter().map(|line| format!("{};{}", line.candidate, line.why));
                span.set_list("tollfree.refused", &lines.collect::<Vec<_>>());
            }
            "refused"
        }
        Ok((_, Answer::Wait(ms))) => {
            span.set("tollfree.wait_ms", *ms);
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
