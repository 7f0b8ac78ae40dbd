//! Endpoints for clients below `/v1`, and the probes and metrics of the service.

mod agent_session;
pub(crate) mod chat;
pub(crate) mod codex_models;
pub(crate) mod completions;
mod early_keepalive;
pub(crate) mod embeddings;
mod encoded;
mod exchange;
pub(crate) mod health;
pub(crate) mod messages;
pub(crate) mod messages_models;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod moderations;
mod posted;
mod prefer;
pub(crate) mod refusal;
pub(crate) mod rerank;
mod responders;
pub(crate) mod responses;
pub(crate) mod status;
pub(crate) mod stream_test;
pub(crate) mod transcriptions;
mod upload;
pub(crate) mod usage;
mod whole_body;
