//! One request's line of the journal, told exactly once: by whoever sees its end, and also when its caller just leaves.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use super::{Attempt, FlowError, Trail, error};
use crate::{
    domain::{Candidate, ChatRequest, Client},
    ledger::{AttemptRecord, Ledger, LedgerError, PassedOver, RequestRecord},
    record::{Journal, Unwritten},
    relay::{Ended, Ending},
    shutdown::Tasks,
};

/// A caller's own words, as far as they are kept. Characters.
const ASKED_MOST: usize = 200;
/// Of attempts, and of candidates passed over.
const LIST_MOST: usize = 32;
/// The cause of an attempt whose caller did not wait for its end.
const LEFT: &str = "left";

/// Dropped untold it tells that the caller left.
pub struct Telling {
    journal: Journal<RequestRecord>,
    trail: Trail,
    line: RequestRecord,
    /// How the last attempt ended, where it ended after its first content.
    broke: Option<String>,
}

impl Telling {
    pub fn begin(journal: &Journal<RequestRecord>, client: &Client, request: &ChatRequest, trail: &Trail) -> Self {
        Self::of(journal, client, &request.model, request.stream, trail)
    }

    pub fn of(journal: &Journal<RequestRecord>, client: &Client, asked: &str, stream: bool, trail: &Trail) -> Self {
        let line = RequestRecord {
            time_ms: Timestamp::now().as_millisecond(),
            request_id: trail.request_id().to_owned(),
            client: client.id.to_string(),
            asked: asked.chars().take(ASKED_MOST).collect(),
            status: RequestRecord::CANCELLED,
            stream,
            trace_id: trail.trace_id().map(str::to_owned),
            ..RequestRecord::default()
        };
        Self { journal: journal.clone(), trail: trail.clone(), line, broke: None }
    }

    /// An answer is committed: its first content is there.
    pub fn answering(&mut self, candidate: &Candidate) {
        self.line.candidate = candidate.name.to_string();
        self.line.account = candidate.account.id.to_string();
        self.line.first_content_ms = Some(ms(self.trail.elapsed()));
        self.broke = Some(LEFT.to_owned());
    }

    /// The last byte is gone, or the answer broke.
    pub fn ended(mut self, ended: &Ended) {
        self.line.tokens_in = ended.usage.map(|u| u.input);
        self.line.tokens_out = ended.usage.map(|u| u.output);
        match &ended.how {
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
            Ending::Left => {}
        }
    }

    pub fn failed(self, error: &FlowError) {
        self.turned_away(error.status(), error.code());
    }

    pub fn turned_away(mut self, status: u16, code: Option<&str>) {
        self.line.status = status;
        self.line.error_code = code.map(str::to_owned);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let duration = self.trail.elapsed();
        let mut attempts = self.trail.attempts();
        if let (Some(how), Some(last)) = (&self.broke, attempts.last_mut()) {
            last.label.clone_from(how);
        }
        attempts.extend(self.trail.under_way().map(|attempt| Attempt { label: LEFT.to_owned(), ..attempt }));
        let tried = |attempt: Attempt| AttemptRecord {
            candidate: attempt.candidate.to_string(),
            account: attempt.account.to_string(),
            cause: attempt.label,
            at_ms: ms(attempt.at),
            duration_ms: ms(attempt.took.unwrap_or_else(|| duration.saturating_sub(attempt.at))),
        };
        let lines = self.trail.passed_over().into_iter().take(LIST_MOST);
        self.line.attempts = attempts.into_iter().take(LIST_MOST).map(tried).collect();
        self.line.passed_over = lines
            .map(|line| PassedOver {
                candidate: line.candidate.to_string(),
                why: line.why,
                retry_in_ms: line.retry_in_ms,
            })
            .collect();
        self.line.waited_ms = self.trail.waited_ms();
        self.line.duration_ms = ms(duration);
        self.journal.tell(std::mem::take(&mut self.line));
    }
}

/// Lines go to the pool's journal in the ledger.
pub fn journal(ledger: Ledger, tasks: Tasks) -> Journal<RequestRecord> {
    Journal::new(tasks, move |number, lines| {
        let ledger = ledger.clone();
        async move {
            ledger.record(number, &lines).await.map_err(|error| match error {
                LedgerError::Unreachable { .. } => Unwritten::Away(error.to_string()),
                LedgerError::Internal(_) => Unwritten::Refused(error.to_string()),
            })
        }
        .boxed()
    })
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
