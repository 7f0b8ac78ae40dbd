//! Reads and writes the records of provider keys.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    master_keys::MasterKeys,
    record::{KeyGroup, ProviderKeyRecord, StoredKey, StoredKeys},
    seal::{self, OpenError, SealedFor},
};
use crate::ledger::{
    clients::audit::AuditNote,
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// Provider keys of one pool.
pub(super) const MAX_KEYS: i64 = 1_000;

/// What a write does to the cooldown of the key.
#[derive(Debug, Clone, Copy)]
pub(super) enum CooldownChange {
    Keep,
    End,
    /// No replica admits with the key for this time, or until it is ended.
    Withdraw {
        ms: Option<i64>,
    },
}

/// One write of a record, which applies only while the store holds `known`.
pub(super) struct Write<'a> {
    pub id: &'a str,
    pub known: &'a str,
    /// `None`: delete it.
    pub record: Option<&'a str>,
    /// `provider/fingerprint`
    pub subject: &'a str,
    pub cooldown: CooldownChange,
    /// `None`: the record says the same in another form, so its version stays.
    pub note: Option<AuditNote<'a>>,
}

/// The result of one write.
pub(super) enum Written {
    At { version: i64 },
    Outdated,
    TooMany,
}

impl Shared {
    pub(super) fn sealed_for<'a>(&'a self, provider: &'a str, id: &'a str) -> SealedFor<'a> {
        SealedFor { pool: self.keys.pool(), provider, id }
    }

    fn read_record(id: &str, text: &str) -> Option<ProviderKeyRecord> {
        match serde_json::from_str(text) {
            Ok(record) => Some(record),
            Err(error) => {
                warn!(provider_key.id = id, "The record of the provider key `{id}` cannot be read: {error}");
                None
            }
        }
    }

    /// Opens one record. A secret that this replica has opened before stays usable after another replica has wrapped it by a
    /// master key that this one lacks.
    fn open_key(&self, id: &str, text: &str, record: ProviderKeyRecord, before: &StoredKeys) -> StoredKey {
        let masters = self.provider_keys.masters.load();
        let secret = seal::open(&masters, self.sealed_for(&record.provider, id), &record.sealed);
        let earlier = before.find(id).and_then(|key| key.secret.as_ref().ok());
        let secret = match (secret, earlier) {
            (Err(OpenError::UnknownMasterKey(_)), Some(secret)) => Ok(secret.clone()),
            (secret, _) => secret,
        };
        StoredKey { id: id.to_owned(), record, secret, text: text.to_owned() }
    }

    pub(super) async fn write_key(&self, write: Write<'_>) -> Result<Written, LedgerError> {
        let names = &self.keys;
        let cooldown = match write.cooldown {
            CooldownChange::Keep => Bytes::from_static(b"keep"),
            CooldownChange::End => Bytes::from_static(b"end"),
            CooldownChange::Withdraw { ms } => encode::number(ms.unwrap_or(0)),
        };
        let mut args = vec![
            encode::text(write.id),
            encode::text(write.known),
            encode::text(write.record.unwrap_or_default()),
            encode::number(MAX_KEYS),
            encode::text(write.subject),
            cooldown,
        ];
        args.extend(write.note.iter().flat_map(AuditNote::encode));
        let mut keys = vec![names.meta(), names.health(), names.audit(), names.provider_keys()];
        keys.extend(names.queue());
        let reply = self.run(&ScriptCall { script: Script::ProviderKeyWrite, keys, args }).await?;
        match &reply {
            Reply::List(words) => match words[..] {
                [Reply::Int(0), _] => Ok(Written::Outdated),
                [Reply::Int(-1), _] => Ok(Written::TooMany),
                [Reply::Int(version), Reply::Int(_)] => Ok(Written::At { version }),
                _ => Err(LedgerError::unexpected("provider_key_write", &reply)),
            },
            _ => Err(LedgerError::unexpected("provider_key_write", &reply)),
        }
    }
}

impl Ledger {
    /// Replaces the master keys. Keys that were read before are opened by the new ones at the next read.
    pub fn set_master_keys(&self, masters: MasterKeys) {
        self.shared.provider_keys.masters.store(Arc::new(masters));
    }

    /// Whether provider keys can be added.
    pub fn has_master_key(&self) -> bool {
        !self.shared.provider_keys.masters.load().is_empty()
    }

    /// The provider keys of the store as last read. Receivers are notified when the keys in force change.
    pub fn provider_keys(&self) -> watch::Receiver<Arc<StoredKeys>> {
        self.shared.provider_keys.stored.subscribe()
    }

    /// Reads the provider keys of the store, which [`Ledger::provider_keys`] shows from here on.
    pub async fn read_provider_keys(&self) -> Result<Arc<StoredKeys>, LedgerError> {
        let shared = &self.shared;
        let state = &shared.provider_keys;
        let _one_at_a_time = state.reading.lock().await;
        let call =
            ScriptCall { script: Script::ProviderKeyRead, keys: vec![shared.keys.provider_keys()], args: Vec::new() };
        let reply = shared.run(&call).await?;
        let unexpected = || LedgerError::unexpected("provider_key_read", &reply);
        let Reply::List(words) = &reply else { return Err(unexpected()) };
        let [version, records @ ..] = &words[..] else { return Err(unexpected()) };
        let version = version.as_str().and_then(|version| version.parse().ok()).ok_or_else(unexpected)?;
        let before = state.stored.borrow().clone();
        let (mut keys, mut groups): (Vec<StoredKey>, Vec<KeyGroup>) = (Vec::new(), Vec::new());
        for [id, text] in records.as_chunks::<2>().0 {
            let (Some(id), Some(text)) = (id.as_str(), text.as_str()) else { continue };
            match Shared::read_record(id, text) {
                Some(record) if record.sealed.is_empty() => {
                    groups.push(KeyGroup { id: id.to_owned(), record, text: text.to_owned() });
                }
                Some(record) => keys.push(shared.open_key(id, text, record, &before)),
                None => {}
            }
        }
        keys.sort_by(|a, b| (a.record.created_ms, &a.id).cmp(&(b.record.created_ms, &b.id)));
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        let stored = Arc::new(StoredKeys { version, keys, groups });
        log_readability(&before, &stored);
        state.announce(version);
        state.stored.send_if_modified(|present| {
            let has_changed = present.in_force() != stored.in_force();
            // The catalogue would be the same. One that is still being built takes the version itself.
            if !has_changed && *state.in_force.borrow() == Some(present.version) {
                state.in_force.send_replace(Some(stored.version));
            }
            *present = stored.clone();
            has_changed
        });
        Ok(stored)
    }
}

/// Logs which keys cannot be opened, or can be opened again.
fn log_readability(before: &StoredKeys, after: &StoredKeys) {
    for key in &after.keys {
        let id = &key.id;
        let earlier = before.find(id).map(|key| key.secret.as_ref().err());
        match (&key.secret, earlier) {
            (Err(error), _) if earlier.flatten() != Some(error) => {
                warn!(provider_key.id = %id, "The provider key `{id}` is not used: {error}");
            }
            (Ok(_), Some(Some(_))) => info!(provider_key.id = %id, "The provider key `{id}` can be opened again"),
            _ => {}
        }
    }
}
