//! What every request passes and every handler uses: middleware, authentication, shared state and errors.

pub(crate) mod access_policy;
pub(crate) mod auth;
pub(crate) mod auth_context;
pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod config_view;
pub(crate) mod cors;
pub(crate) mod display_names;
pub(crate) mod error;
pub(crate) mod event_hub;
pub(crate) mod flow_error;
pub(crate) mod guesses;
pub(crate) mod host_guard;
pub(crate) mod keep_alive;
pub(crate) mod middleware;
pub(crate) mod open_requests;
pub(crate) mod pagination;
pub(crate) mod query;
pub(crate) mod request_body;
pub(crate) mod request_id;
pub(crate) mod schema;
pub(crate) mod server_span;
pub(crate) mod session;
pub(crate) mod state;
pub(crate) mod timestamp;
