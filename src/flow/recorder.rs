//! One request's line of the journal, told exactly once: by whoever sees its end, and also when its caller just leaves.

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

/// A caller's own words, as far as they are kept. Characters.
const ASKED_MOST: usize = 200;
/// Of attempts, and of candidates passed over.
const LIST_MOST: usize = 32;
/// The cause of an attempt whose caller did not wait for its end.
const LEFT: &str = "left";

/// Dropped untold it tells that the caller left.
pub struct RequestRecorder {
    journal: Journal<RequestRecord>,
    attempt_log: AttemptLog,
    line: RequestRecord,
    /// How the last attempt ended, where it ended after its first content.
    broke: Option<String>,
}

impl RequestRecorder {
    pub fn begin(
        journal: &Journal<RequestRecord>,
        client: &Client,
        request: &ChatRequest,
        attempt_log: &AttemptLog,
    ) -> Self {
        Self::of(journal, client, &request.model, request.stream, attempt_log)
    }

    pub fn of(
        journal: &Journal<RequestRecord>,
        client: &Client,
        asked: &str,
        stream: bool,
        attempt_log: &AttemptLog,
    ) -> Self {
        let line = RequestRecord {
            time_ms: Timestamp::now().as_millisecond(),
            request_id: attempt_log.request_id().to_owned(),
            client: client.id.to_string(),
            asked: asked.chars().take(ASKED_MOST).collect(),
            status: RequestRecord::CANCELLED,
            stream,
            trace_id: attempt_log.trace_id().map(str::to_owned),
            ..RequestRecord::default()
        };
        Self { journal: journal.clone(), attempt_log: attempt_log.clone(), line, broke: None }
    }

    /// An answer is committed: its first content is there.
    pub fn answering(&mut self, candidate: &Candidate) {
        self.line.candidate = candidate.name.to_string();
        self.line.account = candidate.account.id.to_string();
        self.line.first_content_ms = Some(ms(self.attempt_log.elapsed()));
        self.broke = Some(LEFT.to_owned());
    }

    /// The last byte is gone, or the answer broke.
    pub fn ended(mut self, ended: &RelayOutcome) {
        self.line.tokens_in = ended.usage.map(|u| u.input);
        self.line.tokens_out = ended.usage.map(|u| u.output);
        match &ended.ending {
            Ending::Complete => {
                self.line.status = 200;
                self.broke = None;
            }
            Ending::Broken { label } => {
                self.line.status = RequestRecord::STREAM_BROKEN;
                let code = if label == "timeout" { error::TIMED_OUT } else { error::FAILED };
                self.line.error_code = Some(code.to_owned());
                self.broke = Some(label.clone());
            }
            Ending::ClientLeft => {}
        }
    }

    pub fn failed(self, error: &FlowError) {
        self.rejected(error.status(), error.code());
    }

    pub fn rejected(mut self, status: u16, code: Option<&str>) {
        self.line.status = status;
        self.line.error_code = code.map(str::to_owned);
    }
}

impl Drop for RequestRecorder {
    fn drop(&mut self) {
        let duration = self.attempt_log.elapsed();
        let mut attempts = self.attempt_log.attempts();
        if let (Some(how), Some(last)) = (&self.broke, attempts.last_mut()) {
            last.label.clone_from(how);
        }
        attempts.extend(self.attempt_log.under_way().map(|attempt| Attempt { label: LEFT.to_owned(), ..attempt }));
        let tried = |attempt: Attempt| AttemptRecord {
            candidate: attempt.candidate.to_string(),
            account: attempt.account.to_string(),
            cause: attempt.label,
            at_ms: ms(attempt.at),
            duration_ms: ms(attempt.took.unwrap_or_else(|| duration.saturating_sub(attempt.at))),
        };
        let lines = self.attempt_log.passed_over().into_iter().take(LIST_MOST);
        self.line.attempts = attempts.into_iter().take(LIST_MOST).map(tried).collect();
        self.line.passed_over = lines
            .map(|line| PassedOver {
                candidate: line.candidate.to_string(),
                why: line.why,
                retry_in_ms: line.retry_in_ms,
            })
            .collect();
        self.line.waited_ms = self.attempt_log.waited_ms();
        self.line.duration_ms = ms(duration);
        self.journal.push(std::mem::take(&mut self.line));
    }
}

/// Lines go to the pool's journal in the ledger.
pub fn journal(ledger: Ledger, tasks: Tasks) -> Journal<RequestRecord> {
    Journal::new(tasks, move |number, lines| {
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
