//! The attempts of one request so far. Shared with the HTTP edge, which may send headers before the request has ended.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    domain::{Candidate, Fault, FaultKind, first_and_more},
    ledger::RefusalReason,
};

/// Attempts, or candidates, that a header or a message lists. A request may have some for each model of the pool.
pub(crate) const MAX_LISTED: usize = 32;

/// Most clients speak OpenAI's chat completions.
const CHAT: &str = "chat";

/// Log of one request's attempts. Clones share the same log.
#[derive(Debug, Clone)]
pub(crate) struct AttemptLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    request_id: String,
    trace_id: Option<String>,
    /// The client's protocol; empty for chat completions.
    protocol: OnceLock<&'static str>,
    began: Instant,
    progress: Mutex<Progress>,
    waited_us: AtomicU64,
    ledger_wait_us: AtomicU64,
}

#[derive(Debug, Default)]
struct Progress {
    attempts: Vec<Attempt>,
    /// The attempt that has not ended yet.
    current: Option<Attempt>,
    passed_over: Vec<RefusalReason>,
}

/// One call to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub provider: Arc<str>,
    /// `groq/openai/gpt-oss-120b`
    pub candidate: Arc<str>,
    pub account: Arc<str>,
    /// Short and closed: `ok`, `429_rpd`, `401`, `timeout`, …
    pub label: String,
    /// The provider's error message with secrets removed; empty for `ok`.
    pub message: String,
    /// `None`: the candidate replied.
    pub kind: Option<FaultKind>,
    /// Start, relative to the arrival of the request.
    pub at: Duration,
    /// `None` while the reply is still being received.
    pub took: Option<Duration>,
}

impl AttemptLog {
    #[cfg(test)]
    pub(crate) fn new(request_id: impl Into<String>) -> Self {
        Self::with_trace(request_id, None)
    }

    /// `trace_id`: 32 hex digits.
    pub(crate) fn with_trace(request_id: impl Into<String>, trace_id: Option<String>) -> Self {
        let shared = Shared {
            request_id: request_id.into(),
            trace_id,
            protocol: OnceLock::new(),
            began: Instant::now(),
            progress: Mutex::default(),
            waited_us: AtomicU64::new(0),
            ledger_wait_us: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The log of one of several calls for one request. Its attempts are its own.
    pub(super) fn part(&self) -> Self {
        let part = Self::with_trace(self.request_id(), self.trace_id().map(str::to_owned));
        part.set_protocol(self.protocol());
        part
    }

    /// Adds the attempts of a part that has ended. Parts wait at the same time, so the longest wait counts.
    pub(super) fn absorb(&self, part: &Self) {
        let attempts = part.attempts();
        self.shared.progress.lock().attempts.extend(attempts);
        for (own, of_part) in [(self.waited_us(), part.waited_us()), (self.ledger_wait_us(), part.ledger_wait_us())] {
            own.fetch_max(of_part.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.shared.request_id
    }

    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.shared.trace_id.as_deref()
    }

    /// Notes the protocol that the client speaks, once.
    pub(crate) fn set_protocol(&self, name: &'static str) {
        // A second call changes nothing.
        let _ = self.shared.protocol.set(name);
    }

    /// The client's protocol; `chat` unless it was set.
    pub(super) fn protocol(&self) -> &'static str {
        self.shared.protocol.get().copied().unwrap_or(CHAT)
    }

    /// Time since the request arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Time in the wait queue, over all attempts.
    pub(crate) fn waited_ms(&self) -> i64 {
        i64::try_from(self.shared.waited_us.load(Ordering::Relaxed) / 1_000).unwrap_or(i64::MAX)
    }

    /// Time in which the ledger could not be reached or did not answer.
    pub(crate) fn ledger_wait_ms(&self) -> i64 {
        i64::try_from(self.shared.ledger_wait_us.load(Ordering::Relaxed) / 1_000).unwrap_or(i64::MAX)
    }

    pub(super) fn ledger_wait_us(&self) -> &AtomicU64 {
        &self.shared.ledger_wait_us
    }

    pub(super) fn waited_us(&self) -> &AtomicU64 {
        &self.shared.waited_us
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.shared.progress.lock().attempts.clone()
    }

    /// The attempt that has not ended yet.
    pub(super) fn current(&self) -> Option<Attempt> {
        self.shared.progress.lock().current.clone()
    }

    /// Candidates that the last admission passed over, with the reason.
    pub(super) fn passed_over(&self) -> Vec<RefusalReason> {
        self.shared.progress.lock().passed_over.clone()
    }

    pub(super) fn set_passed_over(&self, lines: &[RefusalReason]) {
        self.shared.progress.lock().passed_over = lines.to_vec();
    }

    /// The value of `x-tollfree-attempts`: `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`; empty before any.
    pub(crate) fn header(&self) -> String {
        let progress = self.shared.progress.lock();
        let attempt = |a: &Attempt| format!("{};{}", a.candidate, a.label);
        first_and_more(&progress.attempts, MAX_LISTED, "and ", attempt).join(", ")
    }

    pub(super) fn begin(&self, candidate: &Candidate) {
        let attempt = self.attempt(candidate);
        self.shared.progress.lock().current = Some(attempt);
    }

    pub(super) fn failed(&self, candidate: &Candidate, fault: &Fault) {
        self.push(candidate, |attempt| {
            attempt.label.clone_from(&fault.label);
            attempt.message.clone_from(&fault.message);
            attempt.kind = Some(fault.kind);
            attempt.took = Some(self.elapsed().saturating_sub(attempt.at));
        });
    }

    pub(super) fn replied(&self, candidate: &Candidate) {
        self.push(candidate, |attempt| "ok".clone_into(&mut attempt.label));
    }

    /// A new attempt that begins now.
    fn attempt(&self, candidate: &Candidate) -> Attempt {
        Attempt {
            provider: candidate.provider.id.clone(),
            candidate: candidate.name.clone(),
            account: candidate.account.id.clone(),
            label: String::new(),
            message: String::new(),
            kind: None,
            at: self.elapsed(),
            took: None,
        }
    }

    fn push(&self, candidate: &Candidate, end: impl FnOnce(&mut Attempt)) {
        let mut progress = self.shared.progress.lock();
        let mut attempt = progress.current.take().unwrap_or_else(|| self.attempt(candidate));
        end(&mut attempt);
        progress.attempts.push(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow::FlowError, upstream::test_support::candidate};

    #[test]
    fn very_many_attempts_are_listed_up_to_a_bound() {
        let (log, candidate) = (AttemptLog::new("r"), candidate("groq"));
        for _ in 0..MAX_LISTED {
            log.replied(candidate);
        }
        assert_eq!((log.header().matches(";ok").count(), log.header().contains("more")), (MAX_LISTED, false));
        (0..2_000).for_each(|_| log.replied(candidate));
        let header = log.header();
        assert_eq!(header.matches(";ok").count(), MAX_LISTED);
        assert!(header.ends_with(", and 2000 more") && header.is_ascii(), "{header}");
        let message = FlowError::AllFailed { attempts: log.attempts(), timed_out: false }.to_string();
        assert_eq!(message.matches(" (ok)").count(), MAX_LISTED);
        assert!(message.ends_with(" · … and 2000 more"), "{message}");
    }
}
