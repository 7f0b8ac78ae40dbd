//! What replicas have found in the lists of models of providers, shared over the pool; and claims of work that one replica
//! does for all.

pub(super) mod allowance;
pub(super) mod findings;
pub(super) mod store;
