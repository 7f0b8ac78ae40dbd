//! Client keys, administration of clients, dashboard sessions, the login throttle and the audit log.

pub(super) mod admin;
pub(super) mod audit;
pub(super) mod cache;
pub(super) mod login_counter;
pub(super) mod login_throttle;
pub(super) mod lookup;
mod refused;
pub(super) mod sessions;
mod thought_signatures;
