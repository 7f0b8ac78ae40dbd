//! What only true minutes show. These tests mostly wait: they are meant to run side by side.

mod breaker;
pub(crate) mod fleet;
mod keep_alive;
pub(crate) mod replicas;
mod retry_after;
mod shares;
mod team;
mod tokens;
pub(crate) mod topologies;
