//! ① The HTTP edge: who asks, what is asked, what is told. The only room that knows actix.

pub mod admin;
mod dashboard;
mod docs;
pub mod edge;
mod openapi;
pub mod routes;
#[cfg(test)]
mod test_support;
mod v1;
