//! Script calls: the engine that runs them, their texts, keys and arguments.

pub(super) mod args;
pub(super) mod encode;
pub mod engine;
pub mod keys;
pub mod scripts;
