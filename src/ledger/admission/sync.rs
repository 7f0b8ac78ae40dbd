//! Detects a state that was lost or rolled back, and replays into it what it may have lost.
//!
//! A flushed, replaced, restarted or rolled-back Redis shows by its epoch, its run id or a sequence number that went back
//! (`lua/admission/sync.lua`). Then nothing is admitted for half a second, while every replica replays its recent leases.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::warn;

use super::lease_state::{LEASE_TTL_MS, LeaseState, TOMBSTONE_MS};
use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// How often a replica checks the epoch. It is also the delay until it finds Redis reachable again.
const PERIOD: Duration = Duration::from_millis(250);
/// Leases per `replay_leases` call, which takes about a millisecond of Redis time.
const BATCH: usize = 40;

/// The reply of `sync`.
struct Synced {
    epoch: String,
    sequence: i64,
    now_ms: i64,
    /// No admissions for this time.
    hold_ms: i64,
    /// Leases granted from this instant on may be lost.
    since_ms: i64,
}

impl Shared {
    /// Checks which state is in Redis, and replays what it may have lost. Runs one at a time: a caller that waited and
    /// finds the epoch changed from `was` returns at once. Returns the remaining hold in ms.
    pub(super) async fn sync(&self, was: Option<&str>) -> Result<i64, LedgerError> {
        let _one_at_a_time = self.syncing.lock().await;
        let (epoch, sequence) = {
            let state = self.epoch();
            if was.is_some_and(|was| *was != *state.epoch) {
                return Ok(0);
            }
            (state.epoch.clone(), state.sequence)
        };
        let new_epoch = uuid::Uuid::new_v4().simple().to_string();
        let args = vec![encode::text(&epoch), encode::number(sequence), Bytes::from(new_epoch), self.slack_ms.clone()];
        let call = ScriptCall { script: Script::Sync, keys: vec![self.keys.meta()], args };
        let synced = decode(&self.run(&call).await?)?;
        if *synced.epoch != *epoch && !epoch.is_empty() {
            let leases = self.epoch().to_replay(&synced.epoch, synced.since_ms);
            let replayed = self.replay(&synced, &leases).await?;
            warn!(leases = replayed, "The shared state was lost or rolled back; recent leases were replayed");
        }
        let mut state = self.epoch();
        if *state.epoch == *synced.epoch {
            state.observe(&synced.epoch, synced.sequence, synced.now_ms);
        } else {
            state.epoch = synced.epoch.into();
            state.sequence = synced.sequence;
            state.set_clock(synced.now_ms);
            drop(state);
            if synced.hold_ms > 0 {
                // The tickets are lost as well: they are enqueued again in order of arrival.
                self.hold_admissions(synced.hold_ms);
                self.waiters.wake_all();
            }
        }
        Ok(synced.hold_ms)
    }

    /// Replays leases; returns how many of them were unknown.
    async fn replay(&self, synced: &Synced, leases: &[Arc<LeaseState>]) -> Result<i64, LedgerError> {
        let mut replayed = 0;
        for batch in leases.chunks(BATCH) {
            let mut keys = vec![self.keys.meta()];
            let mut args = vec![
                encode::text(&synced.epoch),
                self.slack_ms.clone(),
                Bytes::from_static(LEASE_TTL_MS.as_bytes()),
                Bytes::from_static(TOMBSTONE_MS.as_bytes()),
            ];
            for lease in batch {
                let usage = lease.usage();
                let encoded = self.args.get(&self.keys, &lease.candidate);
                keys.push(self.keys.lease(&lease.id));
                keys.extend(encode::client_keys(&self.keys, &lease.client));
                keys.extend_from_slice(&encoded.windows);
                let client = encode::client_windows(&lease.client, |limit, max| {
                    let charged = encode::client_charge(limit, max, lease.client_tokens);
                    usage.map_or(charged, |u| encode::or_charged(encode::client_used(limit, &u), charged))
                });
                let mut windows = String::new();
                encoded.push_windows(&mut windows, &lease.candidate, synced.now_ms, |w| {
                    let charged = lease.charge.units(w);
                    usage.map_or(charged, |u| encode::or_charged(encode::used(w, &u), charged))
                });
                let settled = if usage.is_some() { "x" } else { "" };
                args.extend([lease.record().0, encode::text(settled), Bytes::from(client), Bytes::from(windows)]);
            }
            if let Reply::Int(n) = self.run(&ScriptCall { script: Script::ReplayLeases, keys, args }).await? {
                replayed += n.max(0);
            }
        }
        Ok(replayed)
    }
}

fn decode(reply: &Reply) -> Result<Synced, LedgerError> {
    if let Reply::List(items) = reply
        && let [epoch, Reply::Int(sequence), Reply::Int(now_ms), Reply::Int(hold_ms), Reply::Int(since_ms)] = &items[..]
        && let Some(epoch) = epoch.as_str()
    {
        return Ok(Synced {
            epoch: epoch.to_owned(),
            sequence: *sequence,
            now_ms: *now_ms,
            hold_ms: *hold_ms,
            since_ms: *since_ms,
        });
    }
    Err(LedgerError::unexpected("sync", reply))
}

/// Checks the epoch a few times a second, and repeats the writes that an outage prevented.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            if shared.sync(None).await.is_ok() {
                shared.flush_pending().await;
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
}
