//! ④ One attempt at one provider: send the request once, classify a failure, read the response.
//!
//! This room knows every dialect and no budget. What the ledger learns from an attempt is in the outcome of a
//! [`Fault`](crate::domain::Fault), in the hints of a [`Reply`] and in a [`StreamFault`].

pub mod admin_client;
mod attempt;
mod client;
mod dialect;
mod error_response;
mod fault;
mod hints;
pub mod model_list;
mod reply;
pub mod request_edit;
mod response;
#[cfg(test)]
pub(crate) mod test_support;

pub use client::{BuildError, HttpPost, ProxySettings, Upstream, UpstreamSettings, http_post};
pub use reply::{Reply, ReplyBody};
pub use response::{
    event_stream::EventStream,
    response_reader::ResponseIdentity,
    sse_event::{EventFacts, SseEvent, StreamFault, TokenUsage},
};
