//! Provider keys that are added at run time: sealed in the store, opened by each replica, in force for the whole pool.
//!
//! The store holds one record per key (`lua/provider_keys/provider_key_write.lua`) and a version that every change raises. A replica
//! learns of a new version by a notification, and at the latest by its next heartbeat; then it reads the records again. The
//! catalogue is built from what [`Ledger::provider_keys`](crate::ledger::Ledger::provider_keys) shows.

pub(super) mod changes;
pub(super) mod master_keys;
pub(super) mod record;
mod seal;
pub(super) mod state;
pub(super) mod store;
pub(super) mod watch;
