//! Admissions: deciding and reserving, leases until they are settled, and the wait queue.

pub(super) mod admit;
pub(super) mod epoch;
pub(super) mod heartbeat;
pub(super) mod instrument;
pub(super) mod lease;
pub(super) mod lease_record;
pub(super) mod queue;
pub(super) mod reply;
