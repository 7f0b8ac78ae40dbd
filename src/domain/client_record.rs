//! A member of the team: who holds a key of its own, what it may do with it, and whether the key is still good.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Client, ClientSettings, Limit, client::ClientKind, key::KeyDigest};

/// One member, as its record says at one instant.
#[derive(Debug, Clone)]
pub struct ClientRecord {
    pub id: Arc<str>,
    pub source: ClientSource,
    pub settings: ClientSettings,
    /// Raised by every change; 0 where the ledger holds no record.
    pub version: i64,
    /// Any of them opens.
    pub secrets: Vec<Secret>,
    /// Instants in ms of the ledger's clock.
    pub created_ms: Option<i64>,
    pub rotated_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
    pub used_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSource {
    /// In the ledger, changed at run time.
    Store,
    /// In the operator's file of hashes.
    File,
}

/// What is kept of a secret.
#[derive(Debug, Clone, Copy)]
pub struct Secret {
    pub digest: KeyDigest,
    /// A replaced one works until then.
    pub until_ms: Option<i64>,
}

/// Why a key opens nothing; in words for who shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    #[error("This API key is not known here.")]
    Unknown,
    #[error("This API key has been revoked. Ask your admin for another one.")]
    Revoked,
    #[error("This API key is switched off at the moment. Ask your admin.")]
    Disabled,
    #[error("This API key expired at {0}. Ask your admin for another one.")]
    Expired(Timestamp),
    #[error("This API key was replaced by a new one and worked until {0}.")]
    Replaced(Timestamp),
}

impl ClientRecord {
    /// Whether this key opens now. Nobody learns anything of a member without its secret.
    pub fn check(&self, shown: &KeyDigest, now_ms: i64) -> Result<(), KeyRefused> {
        // All of them are compared, so that time does not tell which one it is.
        let fitting = self.secrets.iter().fold(None, |found, secret| {
            let fits = secret.digest.is(shown);
            if fits { Some(secret) } else { found }
        });
        let secret = fitting.ok_or(KeyRefused::Unknown)?;
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

    /// As the admission must know it. `usual`: limits of everybody, where its own say nothing of them.
    pub fn client(&self, shown: &KeyDigest, usual: &[(Limit, i64)]) -> Client {
        let own: Vec<(Limit, i64)> = self.settings.limits.in_force().collect();
        let others = usual.iter().filter(|(limit, _)| own.iter().all(|(l, _)| l != limit)).copied();
        let limits: Vec<(Limit, i64)> = own.iter().copied().chain(others).collect();
        Client {
            version: self.version,
            weight: self.settings.weight.max(1),
            models: self.settings.models.clone().into(),
            wait_ms: self.settings.wait_ms,
            may_priority: self.settings.priority,
            shown: Some(*shown),
            ..Client::new(self.id.clone(), ClientKind::Registered, limits)
        }
    }

    /// Until when a replaced secret still works, if it does.
    pub fn old_secret_until(&self, now_ms: i64) -> Option<i64> {
        self.secrets.iter().filter_map(|secret| secret.until_ms).find(|until| *until > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> ClientRecord {
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
    fn a_key_opens_until_it_is_replaced_switched_off_expired_or_revoked() {
        let check = |member: &ClientRecord, key: &str, now_ms| member.check(&KeyDigest::of(key), now_ms);
        let member = member();
        assert_eq!((check(&member, "new", 5_000), check(&member, "old", 999)), (Ok(()), Ok(())));
        assert!(matches!(check(&member, "old", 1_000), Err(KeyRefused::Replaced(_))));
        assert_eq!(member.old_secret_until(999), Some(1_000));
        assert_eq!(member.old_secret_until(1_000), None);
        let mut shut = member.clone();
        shut.settings.expires_at = Some(Timestamp::from_millisecond(2_000).unwrap());
        assert_eq!(check(&shut, "new", 1_999), Ok(()));
        assert!(matches!(check(&shut, "new", 2_000), Err(KeyRefused::Expired(_))));
        shut.settings.disabled = true;
        assert_eq!(check(&shut, "new", 0), Err(KeyRefused::Disabled));
        shut.revoked_ms = Some(1);
        assert_eq!(check(&shut, "new", 0), Err(KeyRefused::Revoked));
        assert_eq!(check(&shut, "guess", 0), Err(KeyRefused::Unknown), "a guess learns nothing");
    }

    #[test]
    fn a_members_own_limit_stands_over_the_usual_one() {
        let mut member = member();
        let usual = [(Limit::Rpm, 60)];
        let limits = |member: &ClientRecord| member.client(&KeyDigest::of("new"), &usual).limits.to_vec();
        assert_eq!(limits(&member), [(Limit::Rpm, 60)]);
        member.settings.limits.rpm = Some(100);
        member.settings.limits.tpd = Some(5);
        assert_eq!(limits(&member), [(Limit::Rpm, 100), (Limit::Tpd, 5)]);
    }
}
