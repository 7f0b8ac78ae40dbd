//! Admission: decide and reserve, leases until they are settled, the wait queue, and recovery of a lost state.

pub(super) mod admit;
mod admit_once;
pub(super) mod affinity;
pub(super) mod epoch;
pub(super) mod heartbeat;
mod in_flight;
mod instrument;
pub(super) mod known_refusals;
pub(super) mod lease;
mod lease_record;
pub(super) mod lease_state;
pub(super) mod outage_queue;
mod pool_clock;
pub(super) mod queue;
mod queue_calls;
pub(super) mod refusal;
pub(super) mod renew;
mod reply;
pub(super) mod request;
mod settle;
mod subject;
pub(super) mod sync;
pub(super) mod waiters;
