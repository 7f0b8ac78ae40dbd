//! How an attempt ended, and what all replicas shall learn from it.

use std::time::Duration;

use super::window::Limit;

/// What the shared state learns from one attempt; `ledger` writes it, `upstream` and `relay` find it out.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub health: Health,
    pub usage: Usage,
    pub cooldown: Option<Cooldown>,
    pub hints: Vec<Hint>,
    /// Time to the first content, for the latency average; only of successes.
    pub first_token: Option<Duration>,
    /// Output tokens of the answer, for the learned percentile.
    pub output_tokens: Option<i64>,
}

impl Outcome {
    /// Sent, and nothing more is known: the caller left, or the lease was forgotten.
    pub fn unknown() -> Self {
        Self {
            health: Health::Unknown,
            usage: Usage::UNKNOWN,
            cooldown: None,
            hints: Vec::new(),
            first_token: None,
            output_tokens: None,
        }
    }
}

/// What the breakers learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    /// The provider is broken: its breaker counts a failure.
    ProviderFailed,
    /// This model is busy or broken there: the breaker of provider and model counts a failure.
    ModelFailed,
    /// Nothing learnt (not sent, the caller left, a refusal by limit or of the request itself). Frees a probe.
    Unknown,
}

/// What the call used, as far as is known. What was sent is never refunded in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// False: nothing ever left for the provider; everything is given back.
    pub sent: bool,
    /// Prompt tokens; `None`: unknown, the estimate stays.
    pub input: Option<i64>,
    /// Prompt and answer; `None`: unknown, the charge stays (a `reserve` keeps its full reserve).
    pub total: Option<i64>,
}

impl Usage {
    pub const NOT_SENT: Self = Self { sent: false, input: Some(0), total: Some(0) };
    /// Refused by the provider before it did any work: the request counts, tokens do not.
    pub const REFUSED: Self = Self { sent: true, input: Some(0), total: Some(0) };
    pub const UNKNOWN: Self = Self { sent: true, input: None, total: None };
}

/// "Leave it alone until": a cool-down that binds every replica's next admission.
#[derive(Debug, Clone)]
pub struct Cooldown {
    pub scope: CooldownScope,
    pub until: Until,
    /// For people: `429_rpd`, `401`, `decommissioned`.
    pub cause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CooldownScope {
    /// What this limit counts by (account, or account and model).
    Limit(Limit),
    /// A 429 that names no limit: account and model.
    AccountModel,
    Account,
    /// A bad key.
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    AfterMs(i64),
    /// No time was named: the script computes when that window opens (its calendar boundary, or one unit's refill).
    WindowOpens,
}

/// What a provider said about one of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    pub limit: Limit,
    /// The limit in force there.
    pub max: Option<i64>,
    /// Units left after this call.
    pub remaining: Option<i64>,
}

/// Why an attempt failed before the first content.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: FaultKind,
    /// The upstream's status, if it answered at all.
    pub status: Option<u16>,
    /// Short and closed, for `x-tollfree-attempts`: `429_rpd`, `401`, `timeout`, `connect`, `busy`, `500`, `empty`.
    pub label: String,
    /// The provider's words, secrets removed; for the caller and the log.
    pub message: String,
    /// The provider's own `code`, if it had one.
    pub code: Option<String>,
    pub outcome: Outcome,
}

/// Whose fault, which decides who is asked next (the outcome table).
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
    /// 400, 422, 403 moderation → the next provider once; if that refuses too, the first 4xx goes to the caller.
    Rejected,
    /// 413, context too long → next with a larger context or window.
    TooLarge,
    /// connect, TLS, reset, plain 5xx, bot filter, broken or empty body → next.
    Broken,
    /// No content in time → next.
    TimedOut,
}
