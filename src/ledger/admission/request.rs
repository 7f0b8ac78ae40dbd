//! The request for an admission, and its result.

use std::sync::atomic::AtomicU64;

use super::{lease::Lease, refusal::Refusal, subject::Subject};
use crate::domain::{Choice, Client, Tier};

/// One request that wants to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct AdmitRequest<'a> {
    pub client: &'a Client,
    /// Candidates in order of preference; the first that has room is taken.
    pub choices: &'a [Choice],
    /// How long the request may wait in the queue; 0: not at all.
    pub wait_ms: i64,
    pub tier: Tier,
    /// The time spent in the queue is added to this counter, in µs, also if the caller gives up.
    pub waited_us: &'a AtomicU64,
    /// The same for the time in which the ledger could not be reached or did not answer.
    pub ledger_wait_us: &'a AtomicU64,
}

impl<'a> AdmitRequest<'a> {
    pub(super) fn subject(&self) -> Subject<'a> {
        Subject { client: self.client, choices: self.choices, tier: self.tier }
    }

    /// Whether it waits while the ledger cannot be reached. Who can be served without the ledger does not.
    pub(super) fn waits_for_ledger(&self) -> bool {
        self.wait_ms > 0 && !self.choices.iter().any(|choice| choice.candidate.is_unmetered())
    }
}

#[derive(Debug)]
pub enum Admission {
    Granted(Lease),
    Refused(Refusal),
    /// The client's record was deleted, disabled or changed since it was read. Nothing was charged: read it again.
    ClientChanged,
}
