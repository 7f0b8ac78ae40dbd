//! One request's event, told exactly once: by whoever sees its end, and also when its caller just leaves.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use super::{Attempt, FlowError, Trail, error};
use crate::{
    domain::{ChatRequest, Client},
    ledger::{self, JournalLine, Ledger, LedgerError},
    record::{Event, Journal, PassedOver, Tried, Unwritten},
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
    journal: Journal,
    trail: Trail,
    event: Event,
    /// How the last attempt ended, where it ended after its first content.
    broke: Option<String>,
}

impl Telling {
    pub fn begin(journal: &Journal, client: &Client, request: &ChatRequest, trail: &Trail) -> Self {
        Self::of(journal, client, &request.model, request.stream, trail)
    }

    pub fn of(journal: &Journal, client: &Client, asked: &str, stream: bool, trail: &Trail) -> Self {
        let event = Event {
            time: Timestamp::now(),
            request_id: trail.request_id().to_owned(),
            client: client.id.to_string(),
            asked: asked.chars().take(ASKED_MOST).collect(),
            candidate: String::new(),
            account: String::new(),
            attempts: Vec::new(),
            passed_over: Vec::new(),
            status: Event::LEFT,
            error_code: None,
            stream,
            waited: Duration::ZERO,
            first_content: None,
            duration: Duration::ZERO,
            tokens_in: None,
            tokens_out: None,
            trace_id: trail.trace_id().map(str::to_owned),
        };
        Self { journal: journal.clone(), trail: trail.clone(), event, broke: None }
    }

    /// An answer is committed: its first content is there.
    pub fn answering(&mut self, candidate: &crate::domain::Candidate) {
        self.event.candidate.clone_from(&candidate.name);
        self.event.account = candidate.account.id.to_string();
        self.event.first_content = Some(self.trail.elapsed());
        self.broke = Some(LEFT.to_owned());
    }

    /// The last byte is gone, or the answer broke.
    pub fn ended(mut self, ended: &Ended) {
        self.event.tokens_in = ended.usage.map(|u| u.input);
        self.event.tokens_out = ended.usage.map(|u| u.output);
        match &ended.how {
            Ending::Complete => {
                self.event.status = 200;
                self.broke = None;
            }
            Ending::Broken { label } => {
                self.event.status = Event::BROKE;
                let code = if label == "timeout" { error::TIMED_OUT } else { error::FAILED };
                self.event.error_code = Some(code.to_owned());
                self.broke = Some(label.clone());
            }
            Ending::Left => {}
        }
    }

    pub fn failed(self, error: &FlowError) {
        self.turned_away(error.status(), error.code());
    }

    pub fn turned_away(mut self, status: u16, code: Option<&str>) {
        self.event.status = status;
        self.event.error_code = code.map(str::to_owned);
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
        let tried = |attempt: Attempt| Tried {
            candidate: attempt.candidate,
            account: attempt.account,
            cause: attempt.label,
            at: attempt.at,
            duration: attempt.took.unwrap_or_else(|| duration.saturating_sub(attempt.at)),
        };
        let lines = self.trail.passed_over().into_iter().take(LIST_MOST);
        self.event.attempts = attempts.into_iter().take(LIST_MOST).map(tried).collect();
        self.event.passed_over = lines
            .map(|line| PassedOver { candidate: line.candidate, why: line.why, opens_in_ms: line.opens_in_ms })
            .collect();
        self.event.waited = Duration::from_millis(u64::try_from(self.trail.waited_ms()).unwrap_or_default());
        self.event.duration = duration;
        self.journal.tell(std::mem::take(&mut self.event));
    }
}

/// Events go to the pool's journal in the ledger.
pub fn journal(ledger: Ledger, tasks: Tasks) -> Journal {
    Journal::new(tasks, move |number, events| {
        let ledger = ledger.clone();
        async move {
            let lines: Vec<JournalLine> = events.into_iter().map(line).collect();
            ledger.record(number, &lines).await.map_err(|error| match error {
                LedgerError::Unreachable { .. } => Unwritten::Away(error.to_string()),
                LedgerError::Internal(_) => Unwritten::Refused(error.to_string()),
            })
        }
        .boxed()
    })
}

fn line(event: Event) -> JournalLine {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let tried = |t: Tried| ledger::Tried {
        candidate: t.candidate,
        account: t.account,
        cause: t.cause,
        at_ms: ms(t.at),
        duration_ms: ms(t.duration),
    };
    let passed = |p: PassedOver| ledger::PassedOver { candidate: p.candidate, why: p.why, opens_in_ms: p.opens_in_ms };
    JournalLine {
        time_ms: event.time.as_millisecond(),
        request_id: event.request_id,
        client: event.client,
        asked: event.asked,
        candidate: event.candidate,
        account: event.account,
        attempts: event.attempts.into_iter().map(tried).collect(),
        passed_over: event.passed_over.into_iter().map(passed).collect(),
        status: event.status,
        error_code: event.error_code,
        stream: event.stream,
        waited_ms: ms(event.waited),
        first_content_ms: event.first_content.map(ms),
        duration_ms: ms(event.duration),
        tokens_in: event.tokens_in,
        tokens_out: event.tokens_out,
        trace_id: event.trace_id,
    }
}
