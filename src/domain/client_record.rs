//! The record of a client with its own key: its settings, and whether a presented key is valid.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Client, ClientSettings, Limit, client::ClientKind, key::KeyDigest};

/// The record of one client.
#[derive(Debug, Clone)]
pub struct ClientRecord {
    pub id: Arc<str>,
    pub source: ClientSource,
    pub settings: ClientSettings,
    /// Incremented by every change; 0 for a client of the file.
    pub version: i64,
    /// Each of them is valid.
    pub secrets: Vec<Secret>,
    pub created_ms: Option<i64>,
    pub rotated_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
    pub used_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSource {
    /// In the ledger, and changed at run time.
    Store,
    /// In the operator's clients file.
    File,
}

/// Digest of a client key.
#[derive(Debug, Clone, Copy)]
pub struct Secret {
    pub digest: KeyDigest,
    /// End of validity of a rotated key.
    pub until_ms: Option<i64>,
}

/// Why a client key is rejected; the messages are for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    #[error("This API key is unknown.")]
    Unknown,
    #[error("This API key has been revoked. Ask your administrator for a new one.")]
    Revoked,
    #[error("This API key is disabled. Ask your administrator.")]
    Disabled,
    #[error("This API key expired at {0}. Ask your administrator for a new one.")]
    Expired(Timestamp),
    #[error("This API key was replaced by a new one and worked until {0}.")]
    Replaced(Timestamp),
}

impl ClientRecord {
    /// Checks a presented key. Without a matching key the error reveals nothing about the client.
    pub fn check(&self, presented: &KeyDigest, now_ms: i64) -> Result<(), KeyRefused> {
        // All digests are compared, so that the time taken does not reveal which one matches.
        let matching = self.secrets.iter().fold(
            None,
            |found, secret| {
                if secret.digest.is(presented) { Some(secret) } else { found }
            },
        );
        let secret = matching.ok_or(KeyRefused::Unknown)?;
        if self.revoked_ms.is_some() {
            return Err(KeyRefused::Revoked);
        }
        if let Some(until) = secret.until_ms.filter(|until| *until <= now_ms) {
            return Err(KeyRefused::Replaced(Timestamp::from_millisecond(until).unwrap_or_default()));
        }
        if self.settings.disabled {
            return Err(KeyRefused::Disabled);
        }
        match self.settings.expires_at {
            Some(at) if at.as_millisecond() <= now_ms => Err(KeyRefused::Expired(at)),
            _ => Ok(()),
        }
    }

    /// The client for admission. `defaults` are the limits that its own do not set.
    pub fn client(&self, presented: &KeyDigest, defaults: &[(Limit, i64)]) -> Client {
        let own: Vec<(Limit, i64)> = self.settings.limits.in_force().collect();
        let others = defaults.iter().filter(|(limit, _)| own.iter().all(|(l, _)| l != limit)).copied();
        let limits: Vec<(Limit, i64)> = own.iter().copied().chain(others).collect();
        Client {
            version: self.version,
            weight: self.settings.weight.max(1),
            models: self.settings.models.clone().into(),
            wait_ms: self.settings.wait_ms,
            may_priority: self.settings.priority,
            may_cost_money: self.settings.paid,
            shown: Some(*presented),
            ..Client::new(self.id.clone(), ClientKind::Registered, limits)
        }
    }

    /// End of validity of a rotated key that still works.
    pub fn old_secret_until(&self, now_ms: i64) -> Option<i64> {
        self.secrets.iter().filter_map(|secret| secret.until_ms).filter(|until| *until > now_ms).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ClientRecord {
        let secret = |key, until_ms| Secret { digest: KeyDigest::of(key), until_ms };
        ClientRecord {
            id: "ann".into(),
            source: ClientSource::Store,
            settings: ClientSettings { name: "Ann".into(), ..ClientSettings::default() },
            version: 3,
            secrets: vec![secret("new", None), secret("old", Some(1_000))],
            created_ms: Some(0),
            rotated_ms: Some(500),
            revoked_ms: None,
            used_ms: None,
        }
    }

    #[test]
    fn a_key_is_valid_until_it_is_replaced_disabled_expired_or_revoked() {
        let check = |record: &ClientRecord, key: &str, now_ms| record.check(&KeyDigest::of(key), now_ms);
        let record = record();
        assert_eq!((check(&record, "new", 5_000), check(&record, "old", 999)), (Ok(()), Ok(())));
        assert!(matches!(check(&record, "old", 1_000), Err(KeyRefused::Replaced(_))));
        assert_eq!(record.old_secret_until(999), Some(1_000));
        assert_eq!(record.old_secret_until(1_000), None);
        let mut changed = record.clone();
        changed.settings.expires_at = Some(Timestamp::from_millisecond(2_000).unwrap());
        assert_eq!(check(&changed, "new", 1_999), Ok(()));
        assert!(matches!(check(&changed, "new", 2_000), Err(KeyRefused::Expired(_))));
        changed.settings.disabled = true;
        assert_eq!(check(&changed, "new", 0), Err(KeyRefused::Disabled));
        changed.revoked_ms = Some(1);
        assert_eq!(check(&changed, "new", 0), Err(KeyRefused::Revoked));
        assert_eq!(check(&changed, "guess", 0), Err(KeyRefused::Unknown), "a wrong key reveals nothing");
    }

    #[test]
    fn a_clients_own_limit_overrides_the_default() {
        let mut record = record();
        let defaults = [(Limit::Rpm, 60)];
        let limits = |record: &ClientRecord| record.client(&KeyDigest::of("new"), &defaults).limits.to_vec();
        assert_eq!(limits(&record), [(Limit::Rpm, 60)]);
        record.settings.limits.rpm = Some(100);
        record.settings.limits.tpd = Some(5);
        assert_eq!(limits(&record), [(Limit::Rpm, 100), (Limit::Tpd, 5)]);
    }
}
