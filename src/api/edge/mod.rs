//! What every request passes and every handler uses: shared state, middleware, authentication, errors.

pub mod access_policy;
pub mod auth;
pub mod cors;
pub mod display_names;
pub mod error;
pub mod flow_error;
pub mod middleware;
pub mod pagination;
pub mod query;
pub mod request_id;
pub mod server_span;
pub mod state;
