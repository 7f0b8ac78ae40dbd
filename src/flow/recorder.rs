//! The journal record of one request, written exactly once when the request ends or its caller disconnects.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use super::{Attempt, AttemptLog, FlowError, error};
use crate::{
    domain::{Candidate, ChatRequest, Client},
    ledger::{AttemptRecord, Ledger, LedgerError, PassedOver, RequestRecord},
    record::{Journal, WriteError},
    relay::{Ending, RelayOutcome},
    shutdown::Tasks,
};

/// Characters of the requested model name that are recorded.
const MAX_MODEL_CHARS: usize = 200;
/// Attempts, and candidates passed over, that are recorded.
const MAX_ENTRIES: usize = 32;
/// Label of an attempt whose caller disconnected before its end.
const CANCELLED: &str = "left";

/// Writes the record on drop. Without a recorded end, the record says that the caller disconnected.
pub(crate) struct RequestRecorder {
    journal: Journal<RequestRecord>,
    attempt_log: AttemptLog,
    record: RequestRecord,
    /// Label of the last attempt where it failed after its first content.
    late_failure: Option<String>,
}

impl RequestRecorder {
    pub(crate) fn begin(
        journal: &Journal<RequestRecord>,
        client: &Client,
        request: &ChatRequest,
        attempt_log: &AttemptLog,
    ) -> Self {
        let mut recorder = Self::new(journal, client, &request.model, request.wants_stream(), attempt_log);
        recorder.record.session = request.session.clone().unwrap_or_default();
        recorder
    }

    pub(crate) fn new(
        journal: &Journal<RequestRecord>,
        client: &Client,
        model: &str,
        stream: bool,
        attempt_log: &AttemptLog,
    ) -> Self {
        let record = RequestRecord {
            time_ms: Timestamp::now().as_millisecond(),
            request_id: attempt_log.request_id().to_owned(),
            client: client.recorded_name().to_string(),
            requested_model: model.chars().take(MAX_MODEL_CHARS).collect(),
            status: RequestRecord::CANCELLED,
            stream,
            protocol: attempt_log.protocol().to_owned(),
            trace_id: attempt_log.trace_id().map(str::to_owned),
            ..RequestRecord::default()
        };
        Self { journal: journal.clone(), attempt_log: attempt_log.clone(), record, late_failure: None }
    }

    /// The first content has arrived, and the reply is committed.
    pub(crate) fn replied(&mut self, candidate: &Candidate) {
        self.record.candidate = candidate.name.to_string();
        self.record.account = candidate.account.id.to_string();
        self.record.first_token_ms = Some(ms(self.attempt_log.elapsed()));
        self.late_failure = Some(CANCELLED.to_owned());
    }

    /// The reply has ended.
    pub(crate) fn ended(mut self, ended: &RelayOutcome) {
        self.record.tokens_in = ended.usage.map(|u| u.input);
        self.record.tokens_out = ended.usage.map(|u| u.output);
        self.record.tokens_cached = ended.usage.map(|u| u.cached).filter(|cached| *cached > 0);
        self.record.audio_seconds = ended.audio_seconds;
        match &ended.ending {
            Ending::Complete => {
                self.record.status = 200;
                self.late_failure = None;
            }
            Ending::Broken { label } => {
                self.record.status = RequestRecord::STREAM_BROKEN;
                let code = if label == "timeout" { error::TIMED_OUT } else { error::FAILED };
                self.record.error_code = Some(code.to_owned());
                self.late_failure = Some(label.clone());
            }
            Ending::ClientLeft => {}
        }
    }

    pub(crate) fn failed(self, error: &FlowError) {
        self.rejected(error.status(), error.code());
    }

    pub(crate) fn rejected(mut self, status: u16, code: Option<&str>) {
        self.record.status = status;
        self.record.error_code = code.map(str::to_owned);
    }
}

impl Drop for RequestRecorder {
    fn drop(&mut self) {
        let duration = self.attempt_log.elapsed();
        let mut attempts = self.attempt_log.attempts();
        if let (Some(how), Some(last)) = (&self.late_failure, attempts.last_mut()) {
            last.label.clone_from(how);
        }
        attempts.extend(self.attempt_log.current().map(|attempt| Attempt { label: CANCELLED.to_owned(), ..attempt }));
        let tried = |attempt: Attempt| AttemptRecord {
            candidate: attempt.candidate.to_string(),
            account: attempt.account.to_string(),
            cause: attempt.label,
            at_ms: ms(attempt.at),
            duration_ms: ms(attempt.took.unwrap_or_else(|| duration.saturating_sub(attempt.at))),
        };
        let lines = self.attempt_log.passed_over().into_iter().take(MAX_ENTRIES);
        self.record.attempts = attempts.into_iter().take(MAX_ENTRIES).map(tried).collect();
        self.record.passed_over = lines
            .map(|line| PassedOver {
                candidate: line.candidate.to_string(),
                why: line.why,
                retry_in_ms: line.retry_in_ms,
            })
            .collect();
        self.record.waited_ms = self.attempt_log.waited_ms();
        self.record.ledger_wait_ms = Some(self.attempt_log.ledger_wait_ms()).filter(|ms| *ms > 0);
        self.record.duration_ms = ms(duration);
        self.journal.push(std::mem::take(&mut self.record));
    }
}

/// A journal whose records are written to the ledger.
pub(crate) fn journal(ledger: Ledger, tasks: Tasks) -> Journal<RequestRecord> {
    Journal::new(tasks, RequestRecord::approximate_bytes, move |number, lines| {
        let ledger = ledger.clone();
        async move {
            ledger.record(number, &lines).await.map_err(|error| match error {
                LedgerError::Unreachable { .. } => WriteError::Unavailable(error.to_string()),
                LedgerError::Internal(_) => WriteError::Rejected(error.to_string()),
            })
        }
        .boxed()
    })
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
