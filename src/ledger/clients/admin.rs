//! Changes of clients. Each change and its audit entry are one atomic step, applied only to the version that was read.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::audit::{Action, AuditNote, ChangedBy};
use crate::{
    domain::{
        BadField, ClientRecord, ClientSettings, ClientSource, KeyDigest,
        client_record::Secret,
        key::{self, NoRandomness},
    },
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::Ledger,
    },
};

/// Clients of one pool.
const MAX_CLIENTS: i64 = 10_000;
/// Replaced keys that a client's record keeps.
const MAX_REPLACED: usize = 8;
/// Attempts at a change before it fails with [`ChangeError::Busy`]. Each concurrent change of the record costs one.
const MAX_TRIES: usize = 8;

/// Why a client was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    #[error("There is no client `{0}`.")]
    Unknown(String),
    #[error("The client `{0}` has been revoked, which is final. Delete it or create a new one.")]
    Revoked(String),
    #[error("The client `{0}` is defined in the clients file (`clients.file`). Change it there.")]
    InFile(String),
    #[error("There are already {MAX_CLIENTS} clients, the maximum. Delete some first.")]
    TooMany,
    #[error("The client `{0}` is being changed by others at the moment. Try again.")]
    Busy(String),
    #[error(transparent)]
    Bad(#[from] BadField),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Fields of a stored record and their new values. The script writes its time to fields that begin with `@`.
type Fields = Vec<(&'static str, String)>;
type Json = Map<String, Value>;

/// Applies a change to the record that was read, given the time of the write.
type Apply<'a> = Box<dyn FnOnce(&mut ClientRecord, i64) + Send + 'a>;

/// One change of a record.
struct Change<'a> {
    fields: Fields,
    before: Json,
    after: Json,
    apply: Apply<'a>,
}

/// The result of one write.
enum Written {
    At { version: i64, now_ms: i64 },
    Outdated,
    TooMany,
}

impl Ledger {
    /// Creates a client, and returns it with its key. The key cannot be read again later.
    pub async fn create_client(&self, input: &Json, by: &ChangedBy) -> Result<(ClientRecord, String), ChangeError> {
        let settings = ClientSettings::new(input, Timestamp::from_millisecond(self.now_ms()).unwrap_or_default())?;
        for _ in 0..MAX_TRIES {
            let id = key::fresh_id()?;
            if self.is_file_client(&id) {
                continue;
            }
            let secret = key::fresh_key(&id)?;
            let digest = KeyDigest::of(&secret);
            let mut fields = settings_fields(&settings);
            fields.extend([("d", digest.hex()), ("@made", "0".to_owned())]);
            let after = settings_json(&settings);
            let note = AuditNote { after, ..AuditNote::new(by, Action::ClientCreate, &id) };
            match self.write(&id, 0, Some(fields), &note).await? {
                Written::Outdated => {}
                Written::TooMany => return Err(ChangeError::TooMany),
                Written::At { version, now_ms } => {
                    let record = ClientRecord {
                        id: id.into(),
                        source: ClientSource::Store,
                        settings,
                        version,
                        secrets: vec![Secret { digest, until_ms: None }],
                        created_ms: Some(now_ms),
                        rotated_ms: None,
                        revoked_ms: None,
                        used_ms: None,
                    };
                    return Ok((record, secret));
                }
            }
        }
        Err(ChangeError::Busy("new".to_owned()))
    }

    /// Changes the settings of a client. Nothing is written if nothing differs.
    pub async fn update_client(&self, id: &str, input: &Json, by: &ChangedBy) -> Result<ClientRecord, ChangeError> {
        self.change(id, by, Action::ClientUpdate, |record, now_ms| {
            let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
            let settings = record.settings.changed(input, now)?;
            let (before, after) = record.settings.differences(&settings);
            if after.is_empty() {
                return Ok(None);
            }
            let fields = settings_fields(&settings);
            Ok(Some(Change { fields, before, after, apply: Box::new(|record, _| record.settings = settings) }))
        })
        .await
    }

    /// Gives a client a new key. The present key stays valid for `overlap`, and one replaced earlier as long as was promised
    /// then.
    pub async fn rotate_client_key(
        &self,
        id: &str,
        overlap: Duration,
        by: &ChangedBy,
    ) -> Result<(ClientRecord, String), ChangeError> {
        let secret = key::fresh_key(id)?;
        let digest = KeyDigest::of(&secret);
        let overlap_ms = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        let record = self
            .change(id, by, Action::ClientRotate, |record, now_ms| {
                let old = record.secrets.iter().find(|secret| secret.until_ms.is_none()).map(|secret| secret.digest);
                let older = older_secrets(record, now_ms)?;
                let listed: Vec<String> =
                    older.iter().map(|(digest, until)| format!("{} {until}", digest.hex())).collect();
                let mut fields = vec![("d", digest.hex()), ("@rot", "0".to_owned()), ("olds", listed.join(" "))];
                if let Some(old) = old {
                    fields.extend([("old", old.hex()), ("@oldx", overlap_ms.to_string())]);
                }
                let until = Timestamp::from_millisecond(now_ms.saturating_add(overlap_ms)).unwrap_or_default();
                let after = object(json!({ "old_secret_until": until }));
                let apply = Box::new(move |record: &mut ClientRecord, now_ms: i64| {
                    let until_ms = Some(now_ms.saturating_add(overlap_ms));
                    let old = old.map(|digest| Secret { digest, until_ms });
                    let older = older.into_iter().map(|(digest, until)| Secret { digest, until_ms: Some(until) });
                    record.secrets = [Secret { digest, until_ms: None }].into_iter().chain(old).chain(older).collect();
                    record.rotated_ms = Some(now_ms);
                });
                Ok(Some(Change { fields, before: Map::new(), after, apply }))
            })
            .await?;
        Ok((record, secret))
    }

    /// Revokes a client's keys for good. The client stays on the list.
    pub async fn revoke_client(&self, id: &str, by: &ChangedBy) -> Result<ClientRecord, ChangeError> {
        let revoked = self
            .change(id, by, Action::ClientRevoke, |_, _| {
                let fields = vec![("off", "1".to_owned()), ("@rev", "0".to_owned())];
                let apply = Box::new(|record: &mut ClientRecord, now_ms| record.revoked_ms = Some(now_ms));
                let (before, after) = (object(json!({ "revoked": false })), object(json!({ "revoked": true })));
                Ok(Some(Change { fields, before, after, apply }))
            })
            .await;
        match revoked {
            // The client is in the requested state.
            Err(ChangeError::Revoked(_)) => self.find(id).await.map(|(record, _)| record),
            other => other,
        }
    }

    /// Deletes a client. Its keys become invalid; its usage stays in the journal.
    pub async fn delete_client(&self, id: &str, by: &ChangedBy) -> Result<(), ChangeError> {
        for _ in 0..MAX_TRIES {
            let (record, _) = self.find(id).await?;
            let before = settings_json(&record.settings);
            let note = AuditNote { before, ..AuditNote::new(by, Action::ClientDelete, id) };
            if let Written::At { .. } = self.write(id, record.version, None, &note).await? {
                return Ok(());
            }
        }
        Err(ChangeError::Busy(id.to_owned()))
    }

    /// The record of a client that can be changed, and the ledger's time.
    async fn find(&self, id: &str) -> Result<(ClientRecord, i64), ChangeError> {
        if self.is_file_client(id) {
            return Err(ChangeError::InFile(id.to_owned()));
        }
        if !key::is_id(id) {
            return Err(ChangeError::Unknown(id.to_owned()));
        }
        let (now_ms, mut found) = self.read_clients(&[id]).await?;
        let record = found.pop().flatten().ok_or_else(|| ChangeError::Unknown(id.to_owned()))?;
        Ok((record, now_ms))
    }

    /// Reads the record, writes the change that `plan` returns for it, and repeats both if the record has changed since.
    async fn change<'a>(
        &self,
        id: &str,
        by: &ChangedBy,
        action: Action,
        mut plan: impl FnMut(&ClientRecord, i64) -> Result<Option<Change<'a>>, BadField>,
    ) -> Result<ClientRecord, ChangeError> {
        for _ in 0..MAX_TRIES {
            let (mut record, now_ms) = self.find(id).await?;
            if record.revoked_ms.is_some() {
                return Err(ChangeError::Revoked(id.to_owned()));
            }
            let Some(Change { fields, before, after, apply }) = plan(&record, now_ms)? else { return Ok(record) };
            let note = AuditNote { by, action, subject: id, before, after };
            if let Written::At { version, now_ms } = self.write(id, record.version, Some(fields), &note).await? {
                record.version = version;
                apply(&mut record, now_ms);
                return Ok(record);
            }
        }
        Err(ChangeError::Busy(id.to_owned()))
    }

    /// Writes fields of a record, or deletes it (`None`), if it still has this version.
    async fn write(
        &self,
        id: &str,
        version: i64,
        fields: Option<Fields>,
        note: &AuditNote<'_>,
    ) -> Result<Written, LedgerError> {
        let names = &self.shared.keys;
        let operation = if fields.is_some() { "set" } else { "drop" };
        let mut args = vec![encode::number(version), encode::text(operation), encode::number(MAX_CLIENTS)];
        args.extend(note.encode());
        for (field, value) in fields.into_iter().flatten() {
            args.extend([encode::text(field), Bytes::from(value)]);
        }
        let keys = vec![names.meta(), names.audit(), names.clients(), names.client_record(id)];
        let reply = self.shared.run(&ScriptCall { script: Script::ClientWrite, keys, args }).await?;
        self.shared.clients.remove(id);
        match &reply {
            Reply::List(words) => match words[..] {
                [Reply::Int(0), _] => Ok(Written::Outdated),
                [Reply::Int(-1), _] => Ok(Written::TooMany),
                [Reply::Int(version), Reply::Int(now_ms)] => Ok(Written::At { version, now_ms }),
                _ => Err(LedgerError::unexpected("client_write", &reply)),
            },
            _ => Err(LedgerError::unexpected("client_write", &reply)),
        }
    }
}

/// The keys replaced before the present one, and until when each is valid. Those that have ended stay as long as there is
/// room, so that a caller with one of them learns that it was replaced.
fn older_secrets(record: &ClientRecord, now_ms: i64) -> Result<Vec<(KeyDigest, i64)>, BadField> {
    let replaced = record.secrets.iter().filter_map(|secret| Some((secret.digest, secret.until_ms?)));
    let (mut older, ended): (Vec<_>, Vec<_>) = replaced.partition(|(_, until)| *until > now_ms);
    if older.len() >= MAX_REPLACED {
        let message = format!(
            "{} replaced keys of this client are still valid, the maximum. Wait until one of them ends, or revoke the client.",
            older.len()
        );
        return Err(BadField { param: "overlap_s".to_owned(), message });
    }
    older.extend(ended.into_iter().take(MAX_REPLACED - older.len()));
    Ok(older)
}

/// The fields of a record that store its settings.
fn settings_fields(settings: &ClientSettings) -> Fields {
    let off = if settings.disabled { "1" } else { "0" };
    let expires = settings.expires_at.map_or(0, Timestamp::as_millisecond);
    let json = Value::Object(settings_json(settings)).to_string();
    vec![("off", off.to_owned()), ("exp", expires.to_string()), ("rec", json)]
}

fn settings_json(settings: &ClientSettings) -> Json {
    object(serde_json::to_value(settings).unwrap_or_default())
}

fn object(value: Value) -> Json {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
