//! ① The HTTP edge, and the only room that knows actix: routes, authentication, requests and responses.

pub(crate) mod admin;
mod dashboard;
mod docs;
pub(crate) mod edge;
mod openapi;
pub mod routes;
mod setup;
mod static_content;
#[cfg(test)]
mod test_support;
mod v1;
