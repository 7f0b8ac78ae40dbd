//! ④ One attempt at one provider: send the request once, classify a failure, read the response.
//!
//! This room knows every dialect and no budget. What the ledger learns from an attempt is in the outcome of a
//! [`Fault`](crate::domain::Fault), in the hints of a `Reply` and in a `StreamFault`.

pub(crate) mod admin_client;
mod allowance;
mod attempt;
mod bounds;
mod client;
mod dialect;
mod embeddings;
mod error_response;
mod fault;
pub(crate) mod gateway_client;
mod guard;
mod hints;
mod judged;
mod list_entry;
pub(crate) mod model_list;
mod redact;
mod reply;
pub mod request_edit;
mod response;
mod response_body;
mod retry_after;
#[cfg(test)]
pub(crate) mod test_support;
mod unverified;
mod upload;

pub(crate) use client::{BuildError, ProxySettings, Upstream, UpstreamSettings, http_post};
pub(crate) use reply::{Reply, ReplyBody};
pub(crate) use response::{
    event_stream::EventStream,
    sse_event::{EventFacts, StreamFault, TokenUsage},
};
