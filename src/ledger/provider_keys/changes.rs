//! Adds, changes and deletes provider keys. Each change and its audit entry are one atomic step, applied only to the record
//! that was read.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{
    record::{NO_KEY, ProviderKeyRecord, StoredKey},
    seal,
    store::{CooldownChange, MAX_KEYS, Write, Written},
};
use crate::{
    catalog::key_id,
    domain::key::NoRandomness,
    ledger::{
        clients::audit::{Action, AuditNote, ChangedBy},
        error::LedgerError,
        shared::Ledger,
    },
};

/// Attempts at a change before it fails with [`ProviderKeyError::Busy`]. Each concurrent change of the record costs one.
const MAX_TRIES: usize = 8;
/// A deleted key stays withdrawn for this time: far longer than any replica takes to forget it.
const DELETED_MS: i64 = 3_600_000;
/// Characters of a key from which the last four may be shown.
const SHOWABLE_CHARS: usize = 20;

/// Why a provider key was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderKeyError {
    #[error("There is no provider key `{0}`.")]
    Unknown(String),
    #[error("This key is stored already, as `{0}`.")]
    Exists(String),
    #[error(
        "No master key is set, so that no provider key can be stored. Set TOLLFREE_MASTER_KEY and restart the gateway."
    )]
    NoMasterKey,
    #[error("There are already {MAX_KEYS} provider keys, the maximum. Delete some first.")]
    TooMany,
    #[error("The provider key `{0}` is being changed by others at the moment. Try again.")]
    Busy(String),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A key to be added.
#[derive(Debug)]
pub struct NewProviderKey {
    pub provider: String,
    pub secret: SecretString,
    /// `None`: an account of its own.
    pub account: Option<String>,
    pub label: String,
}

/// A change of the account that a key belongs to.
#[derive(Debug, Clone, Default)]
pub enum AccountChange {
    #[default]
    Keep,
    /// An account of its own.
    Own,
    Named(String),
}

/// What is changed. `None`: it stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProviderKeyChange {
    pub account: AccountChange,
    pub label: Option<String>,
    pub disabled: Option<bool>,
}

/// The id of a provider's key.
pub fn provider_key_id(provider: &str, fingerprint: &str) -> String {
    format!("{provider}-{fingerprint}")
}

/// The last characters of a key, if it is long enough to keep its secret without them.
pub fn last_four(secret: &SecretString) -> String {
    let chars: Vec<char> = secret.expose_secret().chars().collect();
    if chars.len() < SHOWABLE_CHARS { String::new() } else { chars[chars.len() - 4..].iter().collect() }
}

impl Ledger {
    /// Adds a key for the whole pool.
    pub async fn add_provider_key(&self, new: NewProviderKey, by: &ChangedBy) -> Result<StoredKey, ProviderKeyError> {
        let shared = &self.shared;
        let masters = shared.provider_keys.masters.load_full();
        let master = masters.first().ok_or(ProviderKeyError::NoMasterKey)?;
        let NewProviderKey { provider, secret, account, label } = new;
        let fingerprint = key_id(secret.expose_secret());
        let id = provider_key_id(&provider, &fingerprint);
        let record = ProviderKeyRecord {
            sealed: seal::seal(master, shared.sealed_for(&provider, &id), &secret)?,
            last_four: last_four(&secret),
            account,
            label,
            disabled: false,
            created_ms: self.now_ms(),
            created_by: by.actor.to_owned(),
            fingerprint,
            provider,
        };
        let text = record.encode();
        let subject = subject(&record);
        let note = AuditNote { after: shown(&record), ..AuditNote::new(by, Action::ProviderKeyCreate, &id) };
        // The account of a key that was in the environment once.
        let stored = self.read_provider_keys().await?;
        let write = Write {
            id: &id,
            known: stored.group(&id).map_or("", |group| &group.text),
            record: Some(&text),
            subject: &subject,
            cooldown: CooldownChange::End,
            note: Some(note),
        };
        match shared.write_key(write).await? {
            Written::At { version } => {
                self.apply_change(version).await;
                Ok(StoredKey { id, record, secret: Ok(secret), text })
            }
            Written::Outdated => Err(ProviderKeyError::Exists(id)),
            Written::TooMany => Err(ProviderKeyError::TooMany),
        }
    }

    /// Changes what is known about a key, or whether it is used. Nothing is written if nothing differs.
    pub async fn change_provider_key(
        &self,
        id: &str,
        change: &ProviderKeyChange,
        by: &ChangedBy,
    ) -> Result<StoredKey, ProviderKeyError> {
        for _ in 0..MAX_TRIES {
            let mut key = self.find_provider_key(id).await?;
            let before = shown(&key.record);
            let record = &mut key.record;
            let was_disabled = record.disabled;
            match &change.account {
                AccountChange::Keep => {}
                AccountChange::Own => record.account = None,
                AccountChange::Named(account) => record.account = Some(account.clone()),
            }
            record.label = change.label.clone().unwrap_or_else(|| std::mem::take(&mut record.label));
            record.disabled = change.disabled.unwrap_or(was_disabled);
            let after = shown(record);
            let (before, after) = differences(before, after);
            if after.is_empty() {
                return Ok(key);
            }
            let cooldown = match (was_disabled, record.disabled) {
                (false, true) => CooldownChange::Withdraw { ms: None },
                (true, false) => CooldownChange::End,
                _ => CooldownChange::Keep,
            };
            let (text, subject) = (record.encode(), subject(record));
            let note = AuditNote { before, after, ..AuditNote::new(by, Action::ProviderKeyUpdate, id) };
            let write =
                Write { id, known: &key.text, record: Some(&text), subject: &subject, cooldown, note: Some(note) };
            if let Written::At { version } = self.shared.write_key(write).await? {
                self.apply_change(version).await;
                return Ok(StoredKey { text, ..key });
            }
        }
        Err(ProviderKeyError::Busy(id.to_owned()))
    }

    /// Deletes a key. No replica admits with it from here on, unless it `stays` because the environment has it too.
    pub async fn delete_provider_key(&self, id: &str, stays: bool, by: &ChangedBy) -> Result<(), ProviderKeyError> {
        for _ in 0..MAX_TRIES {
            let key = self.find_provider_key(id).await?;
            let subject = subject(&key.record);
            let note = AuditNote { before: shown(&key.record), ..AuditNote::new(by, Action::ProviderKeyDelete, id) };
            let write = Write {
                id,
                known: &key.text,
                record: None,
                subject: &subject,
                cooldown: if stays { CooldownChange::End } else { CooldownChange::Withdraw { ms: Some(DELETED_MS) } },
                note: Some(note),
            };
            if let Written::At { version } = self.shared.write_key(write).await? {
                self.apply_change(version).await;
                return Ok(());
            }
        }
        Err(ProviderKeyError::Busy(id.to_owned()))
    }

    /// Gives a key of the environment an account for the whole pool, or, with `None`, the one that the configuration gives it.
    /// The store holds no secret of it.
    pub async fn group_environment_key(
        &self,
        provider: &str,
        fingerprint: &str,
        account: Option<&str>,
        by: &ChangedBy,
    ) -> Result<(), ProviderKeyError> {
        let shown = |account: &str| ("account".to_owned(), Value::from(account));
        self.write_open_record((provider, fingerprint), account, CooldownChange::Keep, shown, by).await
    }

    /// Switches on or off that a provider is called without a key. After the end of the call no replica admits another request
    /// without a key if it is off.
    pub async fn set_keyless(&self, provider: &str, is_keyless: bool, by: &ChangedBy) -> Result<(), ProviderKeyError> {
        let cooldown = if is_keyless { CooldownChange::End } else { CooldownChange::Withdraw { ms: Some(DELETED_MS) } };
        let shown = |_: &str| ("keyless".to_owned(), Value::from(true));
        self.write_open_record((provider, NO_KEY), is_keyless.then_some(NO_KEY), cooldown, shown, by).await
    }

    /// Writes a record without a secret, or deletes it where it has no account. `shown` is the field of the audit log.
    async fn write_open_record(
        &self,
        (provider, fingerprint): (&str, &str),
        account: Option<&str>,
        cooldown: CooldownChange,
        shown: impl Fn(&str) -> (String, Value),
        by: &ChangedBy,
    ) -> Result<(), ProviderKeyError> {
        let id = provider_key_id(provider, fingerprint);
        let subject = format!("{provider}/{fingerprint}");
        for _ in 0..MAX_TRIES {
            let stored = self.read_provider_keys().await?;
            let group = stored.group(&id);
            if group.map(|group| group.record.account()) == account {
                return Ok(());
            }
            let record = account.map(|account| ProviderKeyRecord {
                provider: provider.to_owned(),
                fingerprint: fingerprint.to_owned(),
                last_four: String::new(),
                account: Some(account.to_owned()),
                label: String::new(),
                disabled: false,
                created_ms: self.now_ms(),
                created_by: by.actor.to_owned(),
                sealed: String::new(),
            });
            let of = |account: &str| Map::from_iter([shown(account)]);
            let before = group.map(|group| of(group.record.account())).unwrap_or_default();
            let after = account.map(of).unwrap_or_default();
            let text = record.as_ref().map(ProviderKeyRecord::encode);
            let write = Write {
                id: &id,
                known: group.map_or("", |group| &group.text),
                record: text.as_deref(),
                subject: &subject,
                cooldown,
                note: Some(AuditNote { before, after, ..AuditNote::new(by, Action::ProviderKeyUpdate, &id) }),
            };
            match self.shared.write_key(write).await? {
                Written::At { version } => {
                    self.apply_change(version).await;
                    return Ok(());
                }
                Written::Outdated => {}
                Written::TooMany => return Err(ProviderKeyError::TooMany),
            }
        }
        Err(ProviderKeyError::Busy(id))
    }

    async fn find_provider_key(&self, id: &str) -> Result<StoredKey, ProviderKeyError> {
        let stored = self.read_provider_keys().await?;
        stored.find(id).cloned().ok_or_else(|| ProviderKeyError::Unknown(id.to_owned()))
    }
}

/// `provider/fingerprint`, which names the key's cooldown.
fn subject(record: &ProviderKeyRecord) -> String {
    format!("{}/{}", record.provider, record.fingerprint)
}

/// What the audit log shows of a record.
fn shown(record: &ProviderKeyRecord) -> Map<String, Value> {
    let shown = json!({
        "provider": record.provider, "account": record.account(), "label": record.label, "disabled": record.disabled,
    });
    match shown {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The fields of both that differ.
fn differences(before: Map<String, Value>, after: Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut old, mut new) = (Map::new(), Map::new());
    for ((name, before), (_, after)) in before.into_iter().zip(after) {
        if before != after {
            old.insert(name.clone(), before);
            new.insert(name, after);
        }
    }
    (old, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_shows_none_of_its_characters() {
        for (key, shown) in [("gsk_0123456789abcdefwxyz", "wxyz"), ("0123456789abcdefwxy", ""), ("", "")] {
            assert_eq!(last_four(&key.into()), shown);
        }
    }
}
