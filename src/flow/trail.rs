//! What one request has met so far: shared with the edge, which may have to send its headers before the end is known.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::domain::{Candidate, Fault, FaultKind};

/// Cheap to clone; all clones are of the same request.
#[derive(Debug, Clone)]
pub struct Trail {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    request_id: String,
    attempts: Mutex<Vec<Attempt>>,
    waited_us: AtomicU64,
}

/// One send to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub provider: String,
    /// `groq/openai/gpt-oss-120b`
    pub candidate: String,
    /// Short and closed: `ok`, `429_rpd`, `401`, `timeout`, …
    pub label: String,
    /// The provider's words, secrets removed; empty for `ok`.
    pub message: String,
    /// `None`: it answered.
    pub kind: Option<FaultKind>,
}

impl Trail {
    pub fn new(request_id: impl Into<String>) -> Self {
        let shared = Shared { request_id: request_id.into(), attempts: Mutex::default(), waited_us: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub fn request_id(&self) -> &str {
        &self.shared.request_id
    }

    /// Time spent until the budget let it go, over all its attempts, whole ms.
    pub fn waited_ms(&self) -> i64 {
        i64::try_from(self.shared.waited_us.load(Ordering::Relaxed) / 1_000).unwrap_or(i64::MAX)
    }

    pub(super) fn waited(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.shared.waited_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().clone()
    }

    /// The value of `x-tollfree-attempts`: `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`; empty before any.
    pub fn header(&self) -> String {
        let attempts = self.lock();
        let told: Vec<String> = attempts.iter().map(|a| format!("{};{}", a.candidate, a.label)).collect();
        told.join(", ")
    }

    pub(super) fn failed(&self, candidate: &Candidate, fault: &Fault) {
        self.push(candidate, fault.label.clone(), fault.message.clone(), Some(fault.kind));
    }

    pub(super) fn answered(&self, candidate: &Candidate) {
        self.push(candidate, "ok".to_owned(), String::new(), None);
    }

    fn push(&self, candidate: &Candidate, label: String, message: String, kind: Option<FaultKind>) {
        let (provider, candidate) = (candidate.provider.id.to_string(), candidate.name.clone());
        self.lock().push(Attempt { provider, candidate, label, message, kind });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
