//! Reads client records, and checks the keys that callers present.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::cache::{FileClients, MAX_RECORD_AGE};
use crate::{
    domain::{
        Client, ClientRecord, ClientSettings, ClientSource, KeyDigest, KeyRefused, Limit, client::ClientKind,
        client_record::Secret, key,
    },
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::{Ledger, Shared},
    },
};

/// How often the uses of keys are written to their records.
const USES_PERIOD: Duration = Duration::from_secs(2);
/// Records per call.
const BATCH: usize = 100;
/// Words per record in the reply of `client_get`.
const RECORD_WORDS: usize = 12;

/// Why a client key is not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthenticationError {
    #[error(transparent)]
    Refused(#[from] KeyRefused),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Client records with their positions in the list.
#[derive(Debug)]
pub struct ClientPage {
    pub clients: Vec<(ClientRecord, i64)>,
    /// Position of the last one if a page may follow.
    pub last: Option<i64>,
}

impl Shared {
    /// Whether a client of the clients file was changed or removed since it was authenticated: the file may have been
    /// reloaded while the request waited. For clients of the store, `admit` compares versions.
    pub(in crate::ledger) fn has_file_client_changed(&self, client: &Client) -> bool {
        if client.kind != ClientKind::Registered || client.version != 0 {
            return false;
        }
        let file = self.clients.settings.load();
        file.get(&client.id).zip(client.shown.as_ref()).is_none_or(|(record, digest)| {
            record.check(digest, self.epoch().now_ms()).is_err()
                || !record.client(digest, &file.default_limits).has_settings_of(client)
        })
    }
}

impl Ledger {
    /// Replaces what the settings define: the clients of the clients file, and the default limits.
    pub fn set_file_clients(&self, clients: Arc<[ClientRecord]>, default_limits: Arc<[(Limit, i64)]>) {
        self.shared.clients.settings.store(Arc::new(FileClients { clients, default_limits }));
    }

    /// The clients of the clients file.
    pub fn file_clients(&self) -> Arc<[ClientRecord]> {
        self.shared.clients.settings.load().clients.clone()
    }

    pub(super) fn is_file_client(&self, id: &str) -> bool {
        self.shared.clients.settings.load().get(id).is_some()
    }

    /// The client with this key. A cached record of at most `max_age` may decide; during an outage, one of at most
    /// [`MAX_RECORD_AGE`].
    pub async fn authenticate(&self, key: &str, max_age: Duration) -> Result<Client, AuthenticationError> {
        let id = key::id_of(key).ok_or(KeyRefused::Unknown)?;
        self.verify(id, &KeyDigest::of(key), max_age).await
    }

    /// As [`Self::authenticate`]. Where an outage prevents it, waits up to `wait` for the ledger to return, among the other
    /// requests that are held.
    pub async fn authenticate_within(
        &self,
        key: &str,
        max_age: Duration,
        wait: Duration,
    ) -> Result<Client, AuthenticationError> {
        let deadline = Instant::now() + wait;
        // It paces those who were held: the next one is released when this key has been checked.
        let mut permit = None;
        loop {
            let checked = self.authenticate(key, max_age).await;
            let is_outage = matches!(&checked, Err(AuthenticationError::Ledger(LedgerError::Unreachable { .. })));
            if !is_outage || Instant::now() >= deadline {
                return checked;
            }
            drop(permit.take());
            match self.shared.outage_queue.pass_unverified(deadline).await {
                Ok(passed) => permit = passed,
                Err(_) => return checked,
            }
        }
    }

    /// The same client by its current record, after an admission found that the record has changed.
    pub async fn reauthenticate(&self, client: &Client) -> Result<Client, AuthenticationError> {
        let digest = client.shown.as_ref().ok_or(KeyRefused::Unknown)?;
        self.verify(&client.id, digest, Duration::ZERO).await
    }

    async fn verify(&self, id: &str, digest: &KeyDigest, max_age: Duration) -> Result<Client, AuthenticationError> {
        let cache = &self.shared.clients;
        let file = cache.settings.load();
        let client = |record: &ClientRecord| record.client(digest, &file.default_limits);
        if let Some(record) = file.get(id) {
            record.check(digest, self.now_ms())?;
            return Ok(client(record));
        }
        let max_age = if self.is_reachable() { max_age } else { MAX_RECORD_AGE };
        // A cached record that refuses the key may be outdated, so it never decides.
        let cached = cache.get(id).filter(|cached| cached.check(digest).is_ok());
        if let Some(cached) = cached.as_ref().filter(|cached| !max_age.is_zero() && cached.age() <= max_age) {
            cache.mark_used(&cached.record.id);
            return Ok(client(&cached.record));
        }
        let wrong = || format!("{id} {}", digest.hex());
        if cached.is_none() {
            if cache.refused.has(id) || cache.refused.has(&wrong()) {
                return Err(KeyRefused::Unknown.into());
            }
            cache.refused.turn().await;
        }
        match self.read_clients(&[id]).await {
            Ok((now_ms, mut found)) => {
                let found = found.pop().flatten();
                let name = if found.is_some() { wrong() } else { id.to_owned() };
                let checked = found.ok_or(KeyRefused::Unknown);
                match checked.and_then(|record| record.check(digest, now_ms).map(|()| record)) {
                    Ok(record) => {
                        let client = client(&record);
                        cache.insert(Arc::new(record), now_ms);
                        cache.mark_used(&client.id);
                        Ok(client)
                    }
                    Err(refused) => {
                        if refused == KeyRefused::Unknown {
                            cache.refused.note(&name);
                        }
                        cache.remove(id);
                        Err(refused.into())
                    }
                }
            }
            Err(outage @ LedgerError::Unreachable { .. }) => match cached {
                Some(cached) if cached.age() <= MAX_RECORD_AGE => Ok(client(&cached.record)),
                _ => Err(outage.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The current record of a client of the store.
    pub async fn client_record(&self, id: &str) -> Result<Option<ClientRecord>, LedgerError> {
        Ok(self.read_clients(&[id]).await?.1.pop().flatten())
    }

    /// The ledger's time, and the record of each of these clients.
    pub(super) async fn read_clients(&self, ids: &[&str]) -> Result<(i64, Vec<Option<ClientRecord>>), LedgerError> {
        let names = &self.shared.keys;
        let (mut now_ms, mut records) = (0, Vec::with_capacity(ids.len()));
        for ids in ids.chunks(BATCH) {
            let mut keys = vec![names.meta(), names.clients()];
            keys.extend(ids.iter().map(|id| names.client_record(id)));
            let reply = self.shared.run(&ScriptCall { script: Script::ClientGet, keys, args: Vec::new() }).await?;
            let Reply::List(words) = &reply else { return Err(LedgerError::unexpected("client_get", &reply)) };
            let [Reply::Int(now), words @ ..] = &words[..] else {
                return Err(LedgerError::unexpected("client_get", &reply));
            };
            now_ms = *now;
            records.extend(ids.iter().zip(words.chunks(RECORD_WORDS)).map(|(id, words)| decode_record(id, words)));
        }
        Ok((now_ms, records))
    }

    /// Clients of the store, newest first: at most `limit` of those at positions lower than `below`.
    pub async fn list_clients(&self, below: i64, limit: usize) -> Result<ClientPage, LedgerError> {
        let (_, page) = self.client_ids(limit, Bytes::from(below.to_string())).await?;
        let ids: Vec<&str> = page.iter().map(|(id, _)| id.as_str()).collect();
        let records = self.read_clients(&ids).await?.1;
        // A client that was deleted between the two calls has no record.
        let clients = records.into_iter().zip(&page).filter_map(|(record, (_, position))| Some((record?, *position)));
        let last = page.last().filter(|_| page.len() == limit).map(|(_, position)| *position);
        Ok(ClientPage { clients: clients.collect(), last })
    }

    /// Number of clients in the store.
    pub async fn count_clients(&self) -> Result<i64, LedgerError> {
        Ok(self.client_ids(0, Bytes::from_static(b"+inf")).await?.0)
    }

    /// The number of clients, and some of their ids with positions, newest first.
    async fn client_ids(&self, limit: usize, below: Bytes) -> Result<(i64, Vec<(String, i64)>), LedgerError> {
        let keys = vec![self.shared.keys.meta(), self.shared.keys.clients()];
        let call = ScriptCall { script: Script::ClientGet, keys, args: vec![encode::number(limit), below] };
        let reply = self.shared.run(&call).await?;
        let unexpected = || LedgerError::unexpected("client_get", &reply);
        let Reply::List(words) = &reply else { return Err(unexpected()) };
        let [_, Reply::Int(count), page @ ..] = &words[..] else { return Err(unexpected()) };
        let page = page.as_chunks::<2>().0.iter();
        let ids = page.filter_map(|[id, position]| Some((id.as_str()?.to_owned(), position.as_str()?.parse().ok()?)));
        Ok((*count, ids.collect()))
    }

    /// Display names of clients, without those that have no record (any more).
    pub async fn client_names(&self, ids: &[&str]) -> Result<Vec<(String, String)>, LedgerError> {
        #[derive(Deserialize)]
        struct Settings {
            name: String,
        }
        let file = self.shared.clients.settings.load();
        let (in_file, stored): (Vec<&str>, Vec<&str>) = ids.iter().partition(|id| file.get(id).is_some());
        let mut names: Vec<(String, String)> =
            in_file.iter().filter_map(|id| Some(((*id).to_owned(), file.get(id)?.settings.name.clone()))).collect();
        if stored.is_empty() {
            return Ok(names);
        }
        let keys = stored.iter().map(|id| self.shared.keys.client_record(id)).collect();
        let reply = self.shared.run(&ScriptCall { script: Script::DisplayNames, keys, args: Vec::new() }).await?;
        let Reply::List(records) = &reply else { return Err(LedgerError::unexpected("display_names", &reply)) };
        names.extend(stored.iter().zip(records).filter_map(|(id, record)| {
            let settings: Settings = serde_json::from_str(record.as_str()?).ok()?;
            Some(((*id).to_owned(), settings.name))
        }));
        Ok(names)
    }

    async fn write_uses(&self) -> Result<(), LedgerError> {
        let used: Vec<(Arc<str>, Instant)> = self.shared.clients.take_used();
        for batch in used.chunks(BATCH) {
            let mut keys = vec![self.shared.keys.meta()];
            keys.extend(batch.iter().map(|(id, _)| self.shared.keys.client_record(id)));
            let args = batch.iter().map(|(_, at)| Bytes::from(at.elapsed().as_millis().to_string())).collect();
            self.shared.run(&ScriptCall { script: Script::ClientTouch, keys, args }).await?;
        }
        Ok(())
    }
}

/// Writes down when keys were used, in batches and with a delay.
pub(in crate::ledger) fn watch_uses(ledger: &Ledger) {
    let ledger = ledger.clone();
    let tasks = ledger.shared.tasks.clone();
    tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(USES_PERIOD).await;
            // Uses during an outage are lost; nothing depends on them.
            let _ = ledger.write_uses().await;
        }
    });
}

/// Decodes a record: `v off exp rec d old oldx made rot rev used olds`.
fn decode_record(id: &str, words: &[Reply]) -> Option<ClientRecord> {
    let text = |at: usize| words.get(at).and_then(Reply::as_str);
    let number = |at| text(at).and_then(|text| text.parse::<i64>().ok());
    let instant = |at| number(at).filter(|ms| *ms > 0);
    let version = number(0)?;
    // Settings that another version wrote in a form unknown here must not grant anything: such a client is disabled.
    let unreadable = || ClientSettings { disabled: true, ..ClientSettings::default() };
    let settings = text(3).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(unreadable);
    let secret = |at, until_ms| Some(Secret { digest: KeyDigest::from_hex(text(at)?)?, until_ms });
    let old = secret(5, Some(number(6).unwrap_or(0)));
    let older = text(11).map(decode_older).unwrap_or_default();
    Some(ClientRecord {
        id: id.into(),
        source: ClientSource::Store,
        settings,
        version,
        secrets: secret(4, None).into_iter().chain(old).chain(older).collect(),
        created_ms: instant(7),
        rotated_ms: instant(8),
        revoked_ms: instant(9),
        used_ms: instant(10),
    })
}

/// Keys replaced earlier: `digest until ` each.
fn decode_older(text: &str) -> Vec<Secret> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let secret = |[digest, until]: &[&str; 2]| {
        Some(Secret { digest: KeyDigest::from_hex(digest)?, until_ms: Some(until.parse().ok()?) })
    };
    words.as_chunks::<2>().0.iter().filter_map(secret).collect()
}
