//! The successful result of an attempt.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::response::{event_stream::EventStream, response_reader::ResponseIdentity, sse_event::TokenUsage};
use crate::domain::{Candidate, Hint};

/// A provider's response whose first content has arrived.
#[derive(Debug)]
pub struct Reply {
    pub candidate: Arc<Candidate>,
    /// Limits and remainders read from the response headers.
    pub hints: Vec<Hint>,
    /// From sending the request to the first content.
    pub time_to_first_token: Duration,
    pub identity: ResponseIdentity,
    pub body: ReplyBody,
}

#[derive(Debug)]
pub enum ReplyBody {
    /// The whole response to a request without `stream`, normalised for the client.
    Whole { body: Bytes, usage: Option<TokenUsage>, finish_reasons: Vec<String> },
    /// A committed stream. Its events up to and including the first content are buffered inside.
    Stream(EventStream),
}
