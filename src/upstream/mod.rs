//! ④ One attempt at one provider: send once, classify how it ended, hand over the bytes.
//!
//! Knows every dialect and nothing of budgets: what the shared state shall learn is told in a [`Fault`]'s outcome,
//! in a [`Reply`]'s hints, or in a [`StreamFault`].

mod answer;
pub mod attempt;
pub mod client;
mod dialect;
pub mod edit;
mod fault;
pub mod frame;
pub mod frames;
pub mod hints;
pub mod models;
mod refusal;
pub mod remote;
mod splice;
pub mod sse;
#[cfg(test)]
pub(crate) mod testing;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

pub use client::{BuildError, Poster, Upstream, UpstreamSettings, poster};
pub use frame::{Frame, FrameFacts, StreamFault, TokenUsage};
pub use frames::Frames;
pub use models::{ProbeError, Probed};
pub use remote::{RemoteAdmin, RemoteError};

use crate::domain::{Candidate, Cooldown, Hint};

/// A provider's answer that is worth relaying: its first content is there.
#[derive(Debug)]
pub struct Reply {
    pub candidate: Arc<Candidate>,
    /// What the response headers said about windows.
    pub hints: Vec<Hint>,
    /// A success can close a window too: a header that says nothing is left until a named time.
    pub shut: Option<Cooldown>,
    /// From sending to the first content.
    pub first_content: Duration,
    pub named: Named,
    pub body: ReplyBody,
}

/// What the provider calls its answer, as far as it did before its first content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub id: Option<String>,
    pub model: Option<String>,
}

#[derive(Debug)]
pub enum ReplyBody {
    /// The whole answer to a request without `stream`, already cleaned up for the caller.
    Whole { body: Bytes, usage: Option<TokenUsage>, finish_reasons: Vec<String> },
    /// A committed stream: everything up to and including the first content is buffered inside.
    Stream(Frames),
}
