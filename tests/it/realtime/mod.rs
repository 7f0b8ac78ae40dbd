//! What only true minutes show. These tests mostly wait: they are meant to run side by side.

mod breaker;
mod fleet;
mod keep_alive;
mod replicas;
mod tokens;
mod topologies;
