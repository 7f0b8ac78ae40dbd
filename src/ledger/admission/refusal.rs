//! Refusals, with the reason of each candidate, and the state of the client's own windows.

use std::sync::Arc;

use crate::domain::Limit;

/// No candidate has room, and nothing was charged. Without other traffic the same request would be admitted after
/// `retry_ms`.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub by: RefusedBy,
    pub retry_ms: i64,
    /// False if a slot, a probe or an unsettled charge decides: then `retry_ms` is an estimate.
    pub exact: bool,
    pub reasons: Vec<RefusalReason>,
    pub client: Option<ClientUsage>,
}

/// After this time a request that got no grant in time may try again.
const OUT_OF_TIME_RETRY_MS: i64 = 1_000;

impl Refusal {
    /// Of a request whose time to wait is over, and whose grants each came too late to be used.
    pub(super) fn out_of_time() -> Self {
        let (by, retry_ms) = (RefusedBy::Budget, OUT_OF_TIME_RETRY_MS);
        Self { by, retry_ms, exact: false, reasons: Vec::new(), client: None }
    }

    /// No candidate is full: each is down, by an open breaker, a refused key, a wrong address or an operator's switch.
    pub(crate) fn is_down(&self) -> bool {
        self.by == RefusedBy::Budget && !self.reasons.is_empty() && !self.reasons.iter().any(RefusalReason::is_full)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The caller's own quota.
    Client,
    /// The windows, breakers or cooldowns of every candidate.
    Budget,
}

/// Why one candidate, or the client, has no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalReason {
    /// `groq/openai/gpt-oss-120b`, or the client's id if the client's quota refused.
    pub candidate: Arc<str>,
    /// A limit's name, or `breaker`, `probe`, `cooldown: CAUSE`, `off`.
    pub why: String,
    /// The limit in force, if a limit refused.
    pub max: Option<i64>,
    pub retry_in_ms: i64,
}

impl RefusalReason {
    /// A limit is used up, by our count or by the provider's.
    pub(crate) fn is_full(&self) -> bool {
        let cause = self.why.strip_prefix("cooldown: ").unwrap_or(&self.why);
        cause.starts_with("429") || cause.parse::<Limit>().is_ok()
    }
}

/// A client's tightest windows after an admission: one of requests, one of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientUsage {
    pub requests: Option<WindowState>,
    pub tokens: Option<WindowState>,
}

/// The state of one of a client's own windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowState {
    pub limit: i64,
    pub remaining: i64,
    /// Time until the window is empty, at most.
    pub reset_ms: i64,
}
