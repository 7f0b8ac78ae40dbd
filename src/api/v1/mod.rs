//! Endpoints for clients below `/v1`, and the probes and metrics of the service.

pub mod chat;
mod early_keepalive;
pub mod health;
pub mod metrics;
pub mod models;
mod prefer;
pub mod responders;
pub mod status;
pub mod usage;
