//! Client keys, administration of clients, dashboard sessions and the audit log.

pub(super) mod admin;
pub(super) mod audit;
pub(super) mod login_throttle;
pub(super) mod lookup;
pub(super) mod sessions;
