//! How an attempt ended, and what all replicas learn from it.

use std::time::Duration;

use super::window::{Limit, Scope};

/// What one attempt adds to the shared state. `upstream` and `relay` fill it in; `ledger` writes it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub health: Health,
    pub usage: Usage,
    pub cooldown: Option<Cooldown>,
    pub hints: Vec<Hint>,
    /// Time to the first content, for the latency average. Only successes have one.
    pub first_token: Option<Duration>,
}

impl Outcome {
    /// A request that was sent and of which nothing more is known: the caller disconnected, or the lease was dropped.
    pub fn unknown() -> Self {
        Self { health: Health::Unknown, usage: Usage::UNKNOWN, cooldown: None, hints: Vec::new(), first_token: None }
    }
}

/// Effect of an attempt on the circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    /// A failure of the provider, counted by its breaker.
    ProviderFailed,
    /// A failure of this model, counted by the breaker of provider and model.
    ModelFailed,
    /// No effect: not sent, cancelled, rate limited, or rejected because of the request itself. Ends a probe.
    Unknown,
}

/// Usage of one call, as far as it is known. A request that was sent is never refunded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// False if nothing was sent: the whole charge is refunded.
    pub sent: bool,
    /// Prompt tokens. `None`: unknown, and the estimate stays.
    pub input: Option<i64>,
    /// Prompt and output tokens. `None`: unknown, and the charge stays (a `reserve` keeps its full reserve).
    pub total: Option<i64>,
    /// Units of windows of sound. `None`: unknown, and the charge stays.
    pub audio: Option<i64>,
}

impl Usage {
    pub const NOT_SENT: Self = Self { sent: false, input: Some(0), total: Some(0), audio: Some(0) };
    /// Rejected by the provider before it did any work: the request counts, tokens do not.
    pub const REFUSED: Self = Self { sent: true, input: Some(0), total: Some(0), audio: Some(0) };
    pub const UNKNOWN: Self = Self { sent: true, input: None, total: None, audio: None };
}

/// A cooldown, which binds every replica's next admission.
#[derive(Debug, Clone)]
pub struct Cooldown {
    pub scope: CooldownScope,
    pub until: Until,
    /// Short cause for display: `429_rpd`, `401`, `decommissioned`.
    pub cause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CooldownScope {
    /// What this limit counts: an account, or one model of an account.
    Limit(Limit, Scope),
    /// Account and model, for a 429 that names no limit.
    AccountModel,
    Account,
    /// The provider key, which was rejected.
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    AfterMs(i64),
    /// The provider named no time: the script computes when the window opens (its calendar boundary, or one unit's refill).
    WindowOpens,
}

/// State of a window as the provider reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    pub limit: Limit,
    /// What the provider speaks of. A window of the same limit at the other scope is not concerned.
    pub scope: Scope,
    /// The limit in force at the provider, or [`Hint::CEILING`].
    pub max: Option<i64>,
    /// Units left after this call.
    pub remaining: Option<i64>,
}

impl Hint {
    /// The provider refuses by a limit that it does not name: the ledger takes what the window has just now.
    pub const CEILING: i64 = -2;
}

/// Why an attempt failed before the first content.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: FaultKind,
    /// HTTP status of the reply, if there was one.
    pub status: Option<u16>,
    /// Label from a closed set, for `x-tollfree-attempts`: `429_rpd`, `401`, `timeout`, `connect`, `busy`, `500`, `empty`.
    pub label: String,
    /// The provider's message with secrets removed, for the caller and the log.
    pub message: String,
    /// The provider's error `code`, if it sent one.
    pub code: Option<String>,
    pub outcome: Outcome,
}

/// Kind of fault, which decides the next candidates (the outcome table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 by quota or concurrency → next candidate.
    RateLimited,
    /// 429 or 503 "model busy" → next.
    Busy,
    /// 401, 403 bad key → next.
    BadKey,
    /// 402, 404, 410, tier, `limit: 0`, decommissioned → next.
    Gone,
    /// 400, 422, 403 moderation → the next provider once; if that rejects it too, the first 4xx goes to the caller.
    Rejected,
    /// 413, context too long → next with a larger context or window.
    TooLarge,
    /// A reused connection closed before the first byte of a response → the same candidate once more, under a new lease: the
    /// provider may have counted the first request.
    StaleConnection,
    /// connect, TLS, reset, plain 5xx, bot filter, broken or empty body → next.
    Broken,
    /// No content in time → next.
    TimedOut,
}
