//! What this replica knows of the state behind the host: its epoch, its clock, and the leases it could repeat.
//!
//! A flushed, replaced, restarted or rolled-back Redis is told by its epoch, its run id or a sequence that went back
//! (`lua/admission/sync.lua`). Then nobody is admitted for half a second, while every replica repeats its recent leases.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::MutexGuard;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ledger::{
    admission::lease::{Core, LEASE_TTL_MS, TOMBSTONE_MS},
    error::{LedgerError, OUTAGE_RETRY_MS},
    script::{
        encode,
        engine::{EngineError, Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// A flushed minute window is rebuilt from the leases of the last minute; slack comes on top.
const REMEMBERED_MS: i64 = 62_000;
/// How often a replica makes sure that the state is still the one it knew: also how soon it sees Redis again.
const BEAT: Duration = Duration::from_millis(250);
/// Leases per `repeat` call: about a millisecond of Redis time.
const BATCH: usize = 40;

#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Empty: no epoch known yet.
    pub epoch: Arc<str>,
    /// The highest sequence seen in that epoch.
    pub seen: i64,
    /// The ledger's clock at the last reply, and when that was.
    clock: Option<(i64, Instant)>,
    recent: VecDeque<Arc<Core>>,
    /// Still open, and older than what is remembered.
    elders: Vec<Arc<Core>>,
    /// So many of the recent ones, from the front, have lasted long enough to be looked at one by one: …
    looked_at: usize,
    /// … they and the elders, as far as they are open.
    lasting: Vec<Arc<Core>>,
}

impl Known {
    /// The ledger's time by this replica's reckoning; only for calendar boundaries, which the script checks.
    pub fn now_ms(&self) -> i64 {
        match self.clock {
            Some((then, at)) => then + i64::try_from(at.elapsed().as_millis()).unwrap_or(0),
            None => jiff::Timestamp::now().as_millisecond(),
        }
    }

    pub fn saw(&mut self, epoch: &str, seq: i64, now_ms: i64) {
        if *self.epoch == *epoch {
            self.seen = self.seen.max(seq);
            self.clock = Some((now_ms, Instant::now()));
        }
    }

    pub fn set_clock(&mut self, now_ms: i64) {
        self.clock = Some((now_ms, Instant::now()));
    }

    pub fn remember(&mut self, core: Arc<Core>) {
        let old = core.granted_ms - REMEMBERED_MS;
        while self.recent.front().is_some_and(|c| c.granted_ms < old) {
            let elder = self.recent.pop_front().expect("its front was just seen");
            if self.looked_at > 0 {
                self.looked_at -= 1;
            } else if elder.is_open() {
                self.lasting.push(elder.clone());
            }
            if elder.is_open() {
                self.elders.push(elder);
            }
        }
        self.recent.push_back(core);
    }

    /// Every lease that has been open for so long or longer. Each is looked at once in passing: most have ended by then.
    pub fn lasting(&mut self, long: Duration) -> Vec<Arc<Core>> {
        self.elders.retain(|c| c.is_open());
        while let Some(core) = self.recent.get(self.looked_at).filter(|c| c.renewed_ago() >= long) {
            self.lasting.push(core.clone());
            self.looked_at += 1;
        }
        self.lasting.retain(|c| c.is_open());
        self.lasting.clone()
    }

    /// What a lost state may have forgotten: everything open, and everything granted since, in another epoch.
    fn to_repeat(&self, epoch: &str, since: i64) -> Vec<Arc<Core>> {
        self.elders
            .iter()
            .filter(|c| c.is_open())
            .chain(self.recent.iter().filter(|c| c.granted_ms >= since || c.is_open()))
            .filter(|c| &*c.epoch != epoch)
            .cloned()
            .collect()
    }
}

impl Shared {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Keeps the reachability, and says so once when it changes.
    pub(crate) fn note<T>(&self, answer: Result<T, EngineError>) -> Result<T, LedgerError> {
        match answer {
            Ok(value) => {
                self.ready.store(true, Ordering::Relaxed);
                if !self.reachable.swap(true, Ordering::Relaxed) {
                    info!("The shared budget answers");
                }
                Ok(value)
            }
            Err(EngineError::Unreachable(why)) => {
                if self.reachable.swap(false, Ordering::Relaxed) {
                    warn!(reason = %why, "The shared budget cannot be reached: metered models answer 503");
                }
                Err(LedgerError::Unreachable { retry_ms: OUTAGE_RETRY_MS })
            }
            Err(error) => {
                warn!(error = %error, "A script of the shared budget failed");
                Err(LedgerError::Internal(error.to_string()))
            }
        }
    }

    /// Runs a script that does not depend on the epoch, loading it where the host does not know it.
    pub(crate) async fn run(&self, call: &ScriptCall) -> Result<Reply, LedgerError> {
        self.note(self.host.run(call, true).await)
    }

    /// Makes sure which state is behind the host, and repeats what it may have lost. One at a time: whoever finds
    /// that another has just done it (the epoch is no longer `was`) goes on at once. Returns the ms of hold left.
    pub(crate) async fn sync(&self, was: Option<&str>) -> Result<i64, LedgerError> {
        let _alone = self.syncing.lock().await;
        let (epoch, seen) = {
            let known = self.known();
            if was.is_some_and(|was| *was != *known.epoch) {
                return Ok(0);
            }
            (known.epoch.clone(), known.seen)
        };
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let args = [epoch.to_string(), seen.to_string(), fresh, self.rules.slack_ms.to_string()];
        let call = ScriptCall {
            script: Script::Sync,
            keys: vec![self.keys.meta()],
            args: args.into_iter().map(Bytes::from).collect(),
        };
        let reply = self.run(&call).await?;
        let (now_epoch, seq, now_ms, hold, since) = read_sync(&reply)?;
        if *now_epoch != *epoch && !epoch.is_empty() {
            let leases = self.known().to_repeat(&now_epoch, since);
            let again = self.repeat(&now_epoch, &leases, now_ms).await?;
            warn!(leases = again, "The shared state was lost or rolled back: repeated what it had forgotten");
        }
        let mut known = self.known();
        if *known.epoch == *now_epoch {
            known.saw(&now_epoch, seq, now_ms);
        } else {
            known.epoch = now_epoch.into();
            known.seen = seq;
            known.set_clock(now_ms);
        }
        Ok(hold)
    }

    async fn repeat(&self, epoch: &str, leases: &[Arc<Core>], now_ms: i64) -> Result<i64, LedgerError> {
        let mut again = 0;
        for batch in leases.chunks(BATCH) {
            let mut keys = vec![self.keys.meta()];
            let head =
                [epoch.to_owned(), self.rules.slack_ms.to_string(), LEASE_TTL_MS.to_owned(), TOMBSTONE_MS.to_owned()];
            let mut args: Vec<Bytes> = head.into_iter().map(Bytes::from).collect();
            for core in batch {
                let spent = core.spent();
                keys.push(self.keys.lease(&core.id));
                let packed = self.packed.of(&self.keys, &core.candidate);
                keys.extend(encode::client_keys(&self.keys, &core.client));
                keys.extend_from_slice(&packed.windows);
                let mark = if spent.is_some() { "x" } else { "" };
                args.extend([core.numbers().0, Bytes::from_static(mark.as_bytes())]);
                let client = encode::client(&core.client, |limit, most| {
                    let charged = encode::client_charge(limit, most, core.client_tokens);
                    spent.map_or(charged, |s| encode::or_charged(encode::client_used(limit, &s), charged))
                });
                let mut windows = String::new();
                packed.push_windows(&mut windows, &core.candidate, now_ms, |w| {
                    let charged = core.charge.units(w);
                    spent.map_or(charged, |s| encode::or_charged(encode::used(w, &s), charged))
                });
                args.extend([Bytes::from(client), Bytes::from(windows)]);
            }
            if let Reply::Int(n) = self.run(&ScriptCall { script: Script::ReplayLeases, keys, args }).await? {
                again += n.max(0);
            }
        }
        Ok(again)
    }
}

fn read_sync(reply: &Reply) -> Result<(String, i64, i64, i64, i64), LedgerError> {
    if let Reply::List(items) = reply
        && let [Reply::Bulk(epoch), Reply::Int(seq), Reply::Int(now), Reply::Int(hold), Reply::Int(since)] = &items[..]
    {
        return Ok((String::from_utf8_lossy(epoch).into_owned(), *seq, *now, *hold, *since));
    }
    Err(LedgerError::Internal(format!("`sync` answered {reply:?}")))
}

/// Makes sure of the epoch a few times a second, and brings what an outage left undone.
pub(crate) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            if shared.sync(None).await.is_ok() {
                shared.catch_up().await;
            }
            tokio::time::sleep(BEAT).await;
        }
    });
}
