//! What one request has met so far: shared with the edge, which may have to send its headers before the end is known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    domain::{Candidate, Fault, FaultKind},
    ledger::RefusalReason,
};

/// Cheap to clone; all clones are of the same request.
#[derive(Debug, Clone)]
pub struct AttemptLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    request_id: String,
    trace_id: Option<String>,
    began: Instant,
    met: Mutex<Progress>,
    waited_us: AtomicU64,
}

#[derive(Debug, Default)]
struct Progress {
    attempts: Vec<Attempt>,
    /// The attempt that has not ended yet: provider, candidate, account, and since when.
    under_way: Option<Attempt>,
    passed_over: Vec<RefusalReason>,
}

/// One send to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub provider: Arc<str>,
    /// `groq/openai/gpt-oss-120b`
    pub candidate: Arc<str>,
    pub account: Arc<str>,
    /// Short and closed: `ok`, `429_rpd`, `401`, `timeout`, …
    pub label: String,
    /// The provider's words, secrets removed; empty for `ok`.
    pub message: String,
    /// `None`: it answered.
    pub kind: Option<FaultKind>,
    /// When it began, since the request came in.
    pub at: Duration,
    /// `None`: it is still answering.
    pub took: Option<Duration>,
}

impl AttemptLog {
    pub fn new(request_id: impl Into<String>) -> Self {
        Self::with_trace(request_id, None)
    }

    /// `trace_id`: 32 hex digits, of the trace that the request belongs to.
    pub fn with_trace(request_id: impl Into<String>, trace_id: Option<String>) -> Self {
        let shared = Shared {
            request_id: request_id.into(),
            trace_id,
            began: Instant::now(),
            met: Mutex::default(),
            waited_us: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn request_id(&self) -> &str {
        &self.shared.request_id
    }

    pub fn trace_id(&self) -> Option<&str> {
        self.shared.trace_id.as_deref()
    }

    /// Since the request came in.
    pub fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Time spent in line, over all its attempts, whole ms.
    pub fn waited_ms(&self) -> i64 {
        i64::try_from(self.shared.waited_us.load(Ordering::Relaxed) / 1_000).unwrap_or(i64::MAX)
    }

    pub(super) fn waited_us(&self) -> &AtomicU64 {
        &self.shared.waited_us
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.met.lock().attempts.clone()
    }

    /// The attempt that was not seen to its end.
    pub(super) fn under_way(&self) -> Option<Attempt> {
        self.shared.met.lock().under_way.clone()
    }

    /// Who had no room, as the last admission told it.
    pub(super) fn passed_over(&self) -> Vec<RefusalReason> {
        self.shared.met.lock().passed_over.clone()
    }

    /// An admission passed these over.
    pub(super) fn passes_over(&self, lines: &[RefusalReason]) {
        self.shared.met.lock().passed_over = lines.to_vec();
    }

    /// The value of `x-tollfree-attempts`: `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`; empty before any.
    pub fn header(&self) -> String {
        let met = self.shared.met.lock();
        let told: Vec<String> = met.attempts.iter().map(|a| format!("{};{}", a.candidate, a.label)).collect();
        told.join(", ")
    }

    pub(super) fn tries(&self, candidate: &Candidate) {
        let attempt = self.attempt(candidate);
        self.shared.met.lock().under_way = Some(attempt);
    }

    pub(super) fn failed(&self, candidate: &Candidate, fault: &Fault) {
        self.push(candidate, |attempt| {
            attempt.label.clone_from(&fault.label);
            attempt.message.clone_from(&fault.message);
            attempt.kind = Some(fault.kind);
            attempt.took = Some(self.elapsed().saturating_sub(attempt.at));
        });
    }

    pub(super) fn answered(&self, candidate: &Candidate) {
        self.push(candidate, |attempt| "ok".clone_into(&mut attempt.label));
    }

    /// Begun now, nothing known of its end.
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
        let mut met = self.shared.met.lock();
        let mut attempt = met.under_way.take().unwrap_or_else(|| self.attempt(candidate));
        end(&mut attempt);
        met.attempts.push(attempt);
    }
}
