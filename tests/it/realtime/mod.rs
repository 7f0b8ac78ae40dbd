//! Tests in real time. They mostly wait, so they run concurrently.

mod audio;
mod breaker;
mod crowd;
pub(crate) mod fleet;
mod keep_alive;
pub(crate) mod replicas;
mod retry_after;
mod shares;
mod team;
mod tokens;
pub(crate) mod topologies;
