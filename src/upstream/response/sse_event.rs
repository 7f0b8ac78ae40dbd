//! One event of a response's stream: its bytes for the client, and its facts.

use bytes::Bytes;

use crate::domain::{Cooldown, Fault, Health, Hint};

/// Tokens used by a call, as counted by its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TokenUsage {
    pub input: i64,
    pub output: i64,
    pub total: i64,
    /// Part of the input that the provider had cached.
    pub cached: i64,
}

/// One normalised server-sent event, ending with a blank line.
#[derive(Debug, Clone)]
pub(crate) struct SseEvent {
    /// `data: {…}\n\n`
    pub bytes: Bytes,
    pub facts: EventFacts,
}

/// The facts of an event that the relay needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFacts {
    /// Non-empty content, reasoning, a tool call or a refusal.
    pub content: bool,
    /// The finish reason of a choice that ends with this event.
    pub finish_reason: Option<String>,
    /// The usage so far. The last one counts, never the sum.
    pub usage: Option<TokenUsage>,
    /// The usage chunk, for clients that requested it.
    pub usage_only: bool,
    /// `data: [DONE]`
    pub done: bool,
    /// Characters of content and reasoning in it, for the charge of a cut stream.
    pub chars: u32,
}

/// Why a committed stream broke. The client gets an error event, the ledger the health and the cooldown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct StreamFault {
    /// `reset`, `timeout`, `malformed`, or `stream_error` for an error inside the stream.
    pub label: String,
    /// The provider's message with secrets removed, or ours.
    pub message: String,
    pub health: Health,
    pub cooldown: Option<Cooldown>,
    pub hints: Vec<Hint>,
}

impl From<Fault> for StreamFault {
    fn from(fault: Fault) -> Self {
        let label = if fault.status.is_some() { "stream_error".to_owned() } else { fault.label };
        let outcome = fault.outcome;
        // A provider that breaks a response it has begun has failed, for whatever reason.
        let health = if outcome.health == Health::Unknown { Health::ProviderFailed } else { outcome.health };
        Self { label, message: fault.message, health, cooldown: outcome.cooldown, hints: outcome.hints }
    }
}
