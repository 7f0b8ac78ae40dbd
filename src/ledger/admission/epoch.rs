//! What a replica knows of the state in Redis: its epoch, its clock, and the leases that could be replayed into it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{lease_state::LeaseState, pool_clock::PoolClock};

/// A flushed minute window is rebuilt from the leases of the last minute; the slack is added to that.
const REMEMBERED_MS: i64 = 62_000;

#[derive(Debug, Default)]
pub(crate) struct EpochState {
    /// Empty until the first `sync`.
    pub epoch: Arc<str>,
    /// The highest sequence number seen in that epoch.
    pub sequence: i64,
    /// The pool's clock at the last reply, and the local instant of that reply.
    clock: Option<(i64, Instant)>,
    pub(super) pool_clock: PoolClock,
    /// Leases granted within [`REMEMBERED_MS`], oldest first.
    recent: VecDeque<Arc<LeaseState>>,
    /// Open leases that are older.
    old_leases: Vec<Arc<LeaseState>>,
    /// Index into `recent` of the first lease not yet checked for renewal.
    renew_cursor: usize,
    /// Open leases old enough to need renewal.
    renewable: Vec<Arc<LeaseState>>,
}

impl EpochState {
    /// The pool's clock as estimated by this replica, by which windows and the queue go.
    pub(crate) fn pool_now_ms(&self) -> i64 {
        match self.clock {
            Some((then, at)) => then + i64::try_from(at.elapsed().as_millis()).unwrap_or(0),
            None => jiff::Timestamp::now().as_millisecond() + self.offset_ms(),
        }
    }

    /// The ledger's time as estimated by this replica, for dates. The scripts check whatever is computed from it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.pool_now_ms() - self.offset_ms()
    }

    /// The pool's clock is ahead of the ledger's time by this, since that has jumped.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.pool_clock.offset_ms
    }

    /// Takes the sequence number and the clock from a reply, unless it belongs to another epoch.
    pub(crate) fn observe(&mut self, epoch: &str, sequence: i64, now_ms: i64) {
        if *self.epoch == *epoch {
            self.sequence = self.sequence.max(sequence);
            self.set_clock(now_ms);
        }
    }

    pub(crate) fn set_clock(&mut self, pool_now_ms: i64) {
        self.clock = Some((pool_now_ms, Instant::now()));
    }

    /// The same from the ledger's time.
    pub(crate) fn set_time(&mut self, now_ms: i64) {
        self.set_clock(now_ms + self.offset_ms());
    }

    pub(crate) fn remember(&mut self, lease: Arc<LeaseState>) {
        let oldest_ms = lease.granted_ms - REMEMBERED_MS;
        while let Some(old) = self.recent.pop_front_if(|lease| lease.granted_ms < oldest_ms) {
            if self.renew_cursor > 0 {
                self.renew_cursor -= 1;
            } else if old.is_open() {
                self.renewable.push(old.clone());
            }
            if old.is_open() {
                self.old_leases.push(old);
            }
        }
        self.recent.push_back(lease);
    }

    /// The open leases that were granted or renewed at least `age` ago. Each recent lease is checked once, when it reaches
    /// that age; most have been settled by then.
    pub(crate) fn renewable(&mut self, age: Duration) -> Vec<Arc<LeaseState>> {
        self.old_leases.retain(|lease| lease.is_open());
        while let Some(lease) = self.recent.get(self.renew_cursor).filter(|lease| lease.since_renewal() >= age) {
            self.renewable.push(lease.clone());
            self.renew_cursor += 1;
        }
        self.renewable.retain(|lease| lease.is_open());
        self.renewable.clone()
    }

    /// The leases that the state of the new epoch may have lost: everything open, and everything granted since `since_ms`.
    pub(crate) fn to_replay(&self, new_epoch: &str, since_ms: i64) -> Vec<Arc<LeaseState>> {
        let old = self.old_leases.iter().filter(|lease| lease.is_open());
        let recent = self.recent.iter().filter(|lease| lease.granted_ms >= since_ms || lease.is_open());
        old.chain(recent).filter(|lease| &*lease.epoch != new_epoch).cloned().collect()
    }
}
