//! The successful result of an attempt.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::response::{choice_state::ResponseIdentity, event_stream::EventStream, sse_event::TokenUsage};
use crate::domain::{Candidate, Fault, FaultKind, Health, Hint, Outcome, Usage};

/// A provider's response whose first content has arrived.
#[derive(Debug)]
pub(crate) struct Reply {
    pub candidate: Arc<Candidate>,
    /// Limits and remainders read from the response headers.
    pub hints: Vec<Hint>,
    /// From sending the request to the first content.
    pub time_to_first_token: Duration,
    pub identity: ResponseIdentity,
    /// The response ended in good order, but without content, tool calls or a reason for that.
    pub is_empty: bool,
    /// Seconds of sound that the provider counted.
    pub audio_seconds: Option<f64>,
    pub body: ReplyBody,
}

#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// The whole response to a request without `stream`, normalised for the client.
    Whole { body: Bytes, usage: Option<TokenUsage>, finish_reasons: Vec<String> },
    /// A committed stream. Its events up to and including the first content are buffered inside.
    Stream(Box<EventStream>),
}

impl Reply {
    /// The fault of an empty reply, for a request that moves on to another candidate. The provider has not failed: some
    /// prompts have an empty response.
    pub(crate) fn into_empty_fault(self) -> Fault {
        let usage = match self.body {
            ReplyBody::Whole { usage: Some(usage), .. } => {
                Usage { input: Some(usage.input), total: Some(usage.total), ..Usage::UNKNOWN }
            }
            _ => Usage::UNKNOWN,
        };
        let audio = self.audio_seconds.map(|seconds| self.candidate.model.audio_units(seconds));
        let usage = Usage { audio, ..usage };
        let outcome = Outcome { health: Health::Unknown, usage, cooldown: None, hints: self.hints, first_token: None };
        let message = "the response has no content".to_owned();
        Fault { kind: FaultKind::Busy, status: None, label: "empty".to_owned(), message, code: None, outcome }
    }
}
