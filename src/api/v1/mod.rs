//! Endpoints for clients below `/v1`, and the probes and metrics of the service.

mod agent_session;
pub(crate) mod chat;
pub(crate) mod codex_models;
mod early_keepalive;
mod encoded;
mod exchange;
pub(crate) mod health;
pub(crate) mod messages;
pub(crate) mod messages_models;
pub(crate) mod metrics;
pub(crate) mod models;
mod posted;
mod prefer;
pub(crate) mod refusal;
mod responders;
pub(crate) mod responses;
pub(crate) mod status;
pub(crate) mod stream_test;
pub(crate) mod usage;
