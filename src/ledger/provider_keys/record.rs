//! A provider key that was added at run time, as the store holds it and as a replica has opened it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::seal::OpenError;

/// What the store holds of a key, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKeyRecord {
    pub provider: String,
    /// First 8 hex digits of the key's SHA-256.
    pub fingerprint: String,
    /// The last four characters of a key that is long enough to keep its secret, else nothing.
    pub last_four: String,
    /// The account that it belongs to. `None`: one of its own.
    #[serde(default)]
    pub account: Option<String>,
    #[serde(default)]
    pub label: String,
    #[serde(default)]
    pub disabled: bool,
    pub created_ms: i64,
    /// The actor, as in the audit log.
    pub created_by: String,
    /// See [`super::seal`]. Empty for a key of the environment, of which the store only holds the account.
    #[serde(default)]
    pub(super) sealed: String,
}

/// What stands for the fingerprint of a key where a provider is called without one.
pub(super) const NO_KEY: &str = "none";

impl ProviderKeyRecord {
    /// Whether the record says that the provider is called without a key.
    pub fn is_keyless_switch(&self) -> bool {
        self.fingerprint == NO_KEY
    }

    /// The text that the store holds.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The account by which its windows are counted.
    pub fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.fingerprint)
    }
}

/// The account that an administrator has given to a key of the environment.
#[derive(Debug, Clone)]
pub struct KeyGroup {
    pub id: String,
    pub record: ProviderKeyRecord,
    pub(super) text: String,
}

/// A key of the store.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// `groq-1a2b3c4d`: the provider and the fingerprint.
    pub id: String,
    pub record: ProviderKeyRecord,
    /// The opened secret, or why it cannot be opened.
    pub secret: Result<SecretString, OpenError>,
    /// The record as it was read. A change applies only while the store holds this text.
    pub(super) text: String,
}

impl StoredKey {
    /// The secret of a key that is in force.
    pub fn in_force(&self) -> Option<&SecretString> {
        self.secret.as_ref().ok().filter(|_| !self.record.disabled)
    }

    pub fn state(&self) -> KeyState {
        match &self.secret {
            _ if self.record.disabled => KeyState::Disabled,
            Err(_) => KeyState::Unreadable,
            Ok(_) => KeyState::Active,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Active,
    Disabled,
    /// No master key of this replica opens it.
    Unreadable,
}

impl KeyState {
    pub const ALL: [Self; 3] = [Self::Active, Self::Disabled, Self::Unreadable];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The keys of the store at one version.
#[derive(Debug, Default)]
pub struct StoredKeys {
    /// 0 while there was never a key, or none has been read yet.
    pub version: i64,
    /// The oldest first.
    pub keys: Vec<StoredKey>,
    pub groups: Vec<KeyGroup>,
}

impl StoredKeys {
    pub fn find(&self, id: &str) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub(super) fn group(&self, id: &str) -> Option<&KeyGroup> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// What the catalogue is built from: the ids and accounts of the keys in force.
    pub(super) fn in_force(&self) -> Vec<(&str, &str)> {
        let used = self.keys.iter().filter(|key| key.in_force().is_some());
        let used = used.map(|key| (key.id.as_str(), key.record.account()));
        used.chain(self.groups.iter().map(|group| (group.id.as_str(), group.record.account()))).collect()
    }

    pub fn count(&self, state: KeyState) -> usize {
        self.keys.iter().filter(|key| key.state() == state).count()
    }
}
