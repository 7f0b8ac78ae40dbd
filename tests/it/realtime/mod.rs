//! What only true minutes show. These tests mostly wait: they are meant to run side by side.

mod breaker;
pub mod fleet;
mod keep_alive;
pub mod replicas;
mod retry_after;
mod shares;
mod team;
mod tokens;
pub mod topologies;
