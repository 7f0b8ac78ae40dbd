//! One request's event, told exactly once: by whoever sees its end, and also when its caller just leaves.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{FlowError, Trail};
use crate::{
    domain::{ChatRequest, Client},
    ledger::{JournalLine, Ledger},
    record::{Event, Journal},
    relay::{Ended, Ending},
    shutdown::Tasks,
};

/// Dropped untold it tells that the caller left.
pub struct Telling {
    journal: Journal,
    trail: Trail,
    event: Event,
    began: Instant,
}

impl Telling {
    pub fn begin(journal: &Journal, client: &Client, request: &ChatRequest, trail: &Trail) -> Self {
        let event = Event {
            time: Timestamp::now(),
            request_id: trail.request_id().to_owned(),
            client: client.id.to_string(),
            asked: request.model.clone(),
            candidate: String::new(),
            attempts: String::new(),
            status: Event::LEFT,
            stream: request.stream,
            waited: Duration::ZERO,
            first_content: None,
            duration: Duration::ZERO,
            tokens_in: None,
            tokens_out: None,
        };
        Self { journal: journal.clone(), trail: trail.clone(), event, began: Instant::now() }
    }

    /// An answer is committed: its first content is there.
    pub fn answering(&mut self, candidate: &str) {
        candidate.clone_into(&mut self.event.candidate);
        self.event.first_content = Some(self.began.elapsed());
    }

    /// The last byte is gone, or the answer broke.
    pub fn ended(mut self, ended: &Ended) {
        self.event.status = match ended.how {
            Ending::Complete => 200,
            Ending::Broken { .. } => Event::BROKE,
            Ending::Left => Event::LEFT,
        };
        self.event.tokens_in = ended.usage.map(|u| u.input);
        self.event.tokens_out = ended.usage.map(|u| u.output);
    }

    pub fn failed(mut self, error: &FlowError) {
        self.event.status = error.status();
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.event.attempts = self.trail.header();
        self.event.waited = Duration::from_millis(u64::try_from(self.trail.waited_ms()).unwrap_or_default());
        self.event.duration = self.began.elapsed();
        self.journal.tell(self.event.clone());
    }
}

/// Events go to the pool's journal in the ledger.
pub fn journal(ledger: Ledger, tasks: Tasks) -> Journal {
    Journal::new(tasks, move |events| {
        let ledger = ledger.clone();
        async move {
            let lines: Vec<JournalLine> = events.into_iter().map(line).collect();
            ledger.record(&lines).await.map_err(|e| e.to_string())
        }
        .boxed()
    })
}

fn line(event: Event) -> JournalLine {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    JournalLine {
        time_ms: event.time.as_millisecond(),
        request_id: event.request_id,
        client: event.client,
        asked: event.asked,
        candidate: event.candidate,
        attempts: event.attempts,
        status: event.status,
        stream: event.stream,
        waited_ms: ms(event.waited),
        first_content_ms: event.first_content.map(ms),
        duration_ms: ms(event.duration),
        tokens_in: event.tokens_in,
        tokens_out: event.tokens_out,
    }
}
