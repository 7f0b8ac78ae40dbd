//! Keeps a replica's provider keys those of the store, and wraps them by the first master key.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{
    record::{ProviderKeyRecord, StoredKey, StoredKeys},
    seal,
    store::{CooldownChange, Write, Written},
};
use crate::ledger::{error::LedgerError, shared::Ledger};

/// Pause after a failed read.
const RETRY: Duration = Duration::from_millis(250);
/// How often the keys are read without a change, because the replica that wrapped keys again may have stopped halfway.
const RECHECK: Duration = Duration::from_mins(1);
/// One replica wraps keys again for all, for this time at most.
const REWRAP_MS: i64 = 30_000;
/// How long the reply to a change waits for the catalogue of this replica.
const IN_FORCE_TIMEOUT: Duration = Duration::from_secs(1);

impl Ledger {
    /// The catalogue of this replica has been built from this version of the keys.
    pub fn provider_keys_in_force(&self, version: i64) {
        self.shared.provider_keys.in_force.send_replace(Some(version));
    }

    /// Reads the keys after a change, and waits until the catalogue of this replica has it, where it has one. The change
    /// holds in any case: a replica that fails here reads the keys at its next heartbeat.
    pub(super) async fn apply_change(&self, version: i64) {
        let mut in_force = self.shared.provider_keys.in_force.subscribe();
        if self.read_provider_keys().await.is_ok() && in_force.borrow().is_some() {
            let has_change = in_force.wait_for(|in_force| in_force.is_some_and(|in_force| in_force >= version));
            let _ = timeout(IN_FORCE_TIMEOUT, has_change).await;
        }
    }

    /// Wraps the data keys of all sealed secrets by the first master key, unless another replica does so.
    async fn rewrap(&self, stored: &StoredKeys) -> Result<(), LedgerError> {
        let masters = self.shared.provider_keys.masters.load_full();
        let Some(first) = masters.first() else { return Ok(()) };
        let is_outdated = |key: &&StoredKey| {
            seal::master_key_of(&key.record.sealed).is_some_and(|id| id != first.id && masters.find(id).is_some())
        };
        let outdated: Vec<&StoredKey> = stored.keys.iter().filter(is_outdated).collect();
        if outdated.is_empty() || !self.shared.claim("rewrap", REWRAP_MS).await? {
            return Ok(());
        }
        let mut rewrapped = 0;
        for StoredKey { id, record, text, .. } in outdated {
            let belongs = self.shared.sealed_for(&record.provider, id);
            let sealed = match seal::rewrap(&masters, belongs, &record.sealed) {
                Ok(Ok(sealed)) => sealed,
                Ok(Err(error)) => {
                    warn!("Provider keys cannot be wrapped by the first master key: {error}");
                    break;
                }
                // A damaged one is reported where it is read.
                Err(_) => continue,
            };
            let record = ProviderKeyRecord { sealed, ..record.clone() }.encode();
            let (subject, cooldown) = ("", CooldownChange::Keep);
            let write = Write { id, known: text, record: Some(&record), subject, cooldown, note: None };
            // A key that was changed meanwhile is wrapped at the next look.
            rewrapped += usize::from(matches!(self.shared.write_key(write).await?, Written::At { .. }));
        }
        info!(master_key.id = %first.id, "Wrapped {rewrapped} provider keys by the master key `{}`", first.id);
        self.read_provider_keys().await.map(drop)
    }
}

/// Reads the keys at the start and whenever a new version is announced.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let ledger = ledger.clone();
    let tasks = ledger.shared.tasks.clone();
    tasks.spawn_endless(async move {
        let mut announced = ledger.shared.provider_keys.announcements();
        loop {
            let Ok(stored) = ledger.read_provider_keys().await else {
                sleep(RETRY).await; // `run` has logged the outage
                continue;
            };
            // A new version of the keys may also stand for new findings.
            if ledger.read_findings().await.is_err() || ledger.rewrap(&stored).await.is_err() {
                sleep(RETRY).await;
                continue;
            }
            let _ = timeout(RECHECK, announced.wait_for(|version| *version != stored.version)).await;
        }
    });
}
