//! One event of an answer's stream: its bytes for the caller, and what we must know of it.

use bytes::Bytes;

use crate::domain::{Cooldown, Fault, Health, Hint};

/// What a call used, as its provider counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    pub input: i64,
    pub output: i64,
    pub total: i64,
}

/// One server-sent event, ready for the caller: cleaned up, ending with a blank line.
#[derive(Debug, Clone)]
pub struct SseEvent {
    /// `data: {…}\n\n`, to be relayed as it is.
    pub bytes: Bytes,
    pub facts: EventFacts,
}

/// What of a event matters to the relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFacts {
    /// Non-empty content, reasoning, a tool call or a refusal.
    pub content: bool,
    /// Some choice ends with this event.
    pub finish_reason: Option<String>,
    /// Cumulative: the last one counts, never the sum.
    pub usage: Option<TokenUsage>,
    /// Carries usage and nothing else: kept from a caller who did not ask for it.
    pub usage_only: bool,
    /// `data: [DONE]`
    pub done: bool,
    /// Characters of content and reasoning in it (for what a cut stream is charged).
    pub chars: u32,
}

/// Why a committed stream broke. The caller gets an error event; the shared state learns `health` and `cooldown`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StreamFault {
    /// Closed vocabulary, as of a fault: `reset`, `timeout`, `malformed`, and for an error that was told `stream_error`.
    pub label: String,
    /// The provider's words, secrets removed, or ours.
    pub message: String,
    /// The provider's own code, if it had one.
    pub code: Option<String>,
    pub health: Health,
    pub cooldown: Option<Cooldown>,
    pub hints: Vec<Hint>,
}

impl EventFacts {
    /// An answer has begun: content, or its end in good order (thinking can use up all that was allowed).
    pub(in crate::upstream) fn commits(&self) -> bool {
        self.content || self.finish_reason.is_some()
    }
}

impl From<Fault> for StreamFault {
    fn from(fault: Fault) -> Self {
        let label = if fault.status.is_some() { "stream_error".to_owned() } else { fault.label };
        let Fault { message, code, outcome, .. } = fault;
        // Whatever it was: a provider that breaks an answer it has begun has failed.
        let health = if outcome.health == Health::Unknown { Health::ProviderFailed } else { outcome.health };
        Self { label, message, code, health, cooldown: outcome.cooldown, hints: outcome.hints }
    }
}
