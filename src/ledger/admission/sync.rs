//! Detects a state that was lost or rolled back, and replays into it what it may have lost.
//!
//! A flushed, replaced, restarted or rolled-back Redis shows by its epoch, its run id or a sequence number that went back
//! (`lua/admission/sync.lua`), and a TIME that has jumped by our own clock. Then nothing is admitted for half a second, while every replica replays its recent leases.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::warn;

use super::{
    lease_state::{LEASE_TTL_MS, LeaseState, TOMBSTONE_MS},
    pool_clock::{is_behind, own_ms},
};
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

/// While a replica that has just started sees TIME far from the pool's last instant, others may know that it has jumped: they
/// say so within this time.
const OTHERS_KNOW: Duration = Duration::from_millis(300);
/// Calls until TIME is understood. One may be late, and one may meet the correction of another replica.
const MAX_CALLS: usize = 4;

/// The reply of `sync`.
struct Synced {
    epoch: String,
    sequence: i64,
    /// By the pool's clock, as are the following instants.
    now_ms: i64,
    /// No admissions for this time.
    hold_ms: i64,
    /// Leases granted from this instant on may be lost.
    since_ms: i64,
    corrections: i64,
    offset_ms: i64,
    /// The latest instant that the pool had acted on.
    last_ms: i64,
    /// TIME is too far from that instant.
    is_unsure: bool,
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
        let Some(synced) = self.agree_on_time(&epoch, sequence).await? else { return Ok(0) };
        let jump_ms = self.epoch().offset_ms() - synced.offset_ms;
        if *synced.epoch != *epoch && !epoch.is_empty() {
            let leases = self.epoch().to_replay(&synced.epoch, synced.since_ms);
            let replayed = self.replay(&synced, &epoch, &leases).await?;
            if jump_ms == 0 {
                warn!(leases = replayed, "The shared state was lost or rolled back; recent leases were replayed");
            } else {
                warn!(leases = replayed, jump_ms, "The time of the shared state jumped; windows go on by true time");
            }
        }
        let mut state = self.epoch();
        state.pool_clock.offset_ms = synced.offset_ms;
        state.pool_clock.corrections = synced.corrections;
        if *state.epoch == *synced.epoch {
            state.observe(&synced.epoch, synced.sequence, synced.now_ms);
        } else {
            state.epoch = synced.epoch.into();
            state.sequence = synced.sequence;
            state.set_clock(synced.now_ms);
            drop(state);
            if synced.hold_ms > 0 {
                // The tickets are lost as well: they get their places back before anything is admitted.
                self.hold_admissions(synced.hold_ms);
                self.waiters.wake_all();
            }
        }
        Ok(synced.hold_ms)
    }

    /// Calls `sync` until it accepts TIME, with a correction where TIME has jumped by our own clock. `None`: not yet.
    async fn agree_on_time(&self, epoch: &str, sequence: i64) -> Result<Option<Synced>, LedgerError> {
        let mut correction = None;
        for _ in 0..MAX_CALLS {
            let new_epoch = uuid::Uuid::new_v4().simple().to_string();
            let clock = self.epoch().pool_clock.clone();
            let sent = own_ms();
            // As of the reply that led to a correction; else as we know them.
            let (corrections, offset_ms, corrected) = match correction.take() {
                Some((corrections, offset_ms, corrected_ms)) => (corrections, offset_ms, encode::number(corrected_ms)),
                None => (clock.corrections, clock.offset_ms, Bytes::new()),
            };
            let args = vec![
                encode::text(epoch),
                encode::number(sequence),
                Bytes::from(new_epoch),
                self.slack_ms.clone(),
                encode::number(clock.surely_passed(sent).unwrap_or(0)),
                Bytes::from(format!("{corrections} {offset_ms}")),
                corrected,
            ];
            let call = ScriptCall { script: Script::Sync, keys: vec![self.keys.meta()], args };
            let synced = decode(&self.run(&call).await?)?;
            let received = own_ms();
            if !synced.is_unsure {
                self.epoch().pool_clock.set(synced.now_ms, sent, received);
                return Ok(Some(synced));
            }
            let offset_after = |jump_ms: i64| Some((synced.corrections, synced.offset_ms, synced.offset_ms - jump_ms));
            if let Some(jump_ms) = clock.jump(synced.now_ms, sent, received) {
                correction = offset_after(jump_ms);
            } else if !clock.knows_time() {
                tokio::time::sleep(OTHERS_KNOW).await;
                if is_behind(synced.now_ms, synced.last_ms) {
                    // Nobody knows for how long: the pool goes on where it was.
                    correction = offset_after(synced.now_ms - synced.last_ms);
                } else {
                    self.epoch().pool_clock.set(synced.now_ms, sent, received);
                }
            }
        }
        Ok(None)
    }

    /// Replays leases into the state that followed the epoch `known`; returns how many of them were unknown there.
    async fn replay(&self, synced: &Synced, known: &str, leases: &[Arc<LeaseState>]) -> Result<i64, LedgerError> {
        let mut replayed = 0;
        for batch in leases.chunks(BATCH) {
            let mut keys = vec![self.keys.meta()];
            let mut args = vec![
                encode::text(&synced.epoch),
                encode::text(known),
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
    let unexpected = || LedgerError::unexpected("sync", reply);
    let Reply::List(items) = reply else { return Err(unexpected()) };
    let Some((epoch, numbers)) = items.split_first() else { return Err(unexpected()) };
    let numbers = numbers.iter().map(|item| if let Reply::Int(number) = item { Some(*number) } else { None });
    let numbers: Vec<i64> = numbers.collect::<Option<_>>().ok_or_else(unexpected)?;
    let epoch = epoch.as_str().ok_or_else(unexpected)?.to_owned();
    let [sequence, now_ms, hold_ms, since_ms, corrections, offset_ms, last_ms, is_unsure] = numbers[..] else {
        return Err(unexpected());
    };
    let is_unsure = is_unsure == 1;
    Ok(Synced { epoch, sequence, now_ms, hold_ms, since_ms, corrections, offset_ms, last_ms, is_unsure })
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
