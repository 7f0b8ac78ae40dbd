//! What a provider counts and enforces, and the audit beside it.

pub(super) mod audit;
pub(super) mod limit;
pub(super) mod meter;
pub(super) mod usage;
pub(super) mod window;
