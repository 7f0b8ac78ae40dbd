//! Dashboard sessions: stored in the ledger, so that every replica accepts them and any replica can end them.

use std::time::Duration;

use bytes::Bytes;

use super::audit::{Action, AuditNote, ChangedBy};
use crate::{
    domain::KeyDigest,
    ledger::{
        error::LedgerError,
        script::{
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::Ledger,
    },
};

/// Lifetime of a session.
pub const SESSION: Duration = Duration::from_hours(12);

/// Identifies a session: the digest of its cookie, and of the admin key that opened it.
#[derive(Debug, Clone, Copy)]
pub struct SessionKey<'a> {
    pub cookie: &'a KeyDigest,
    pub admin: &'a KeyDigest,
}

impl Ledger {
    /// Runs one operation of the `sessions` script; returns the remaining lifetime of the session, if it exists.
    async fn session(
        &self,
        operation: &'static str,
        key: SessionKey<'_>,
        note: Option<&AuditNote<'_>>,
    ) -> Result<Option<Duration>, LedgerError> {
        // Hashed once more, so that the digest that opens the admin endpoints is not stored.
        let fingerprint = KeyDigest::of(&key.admin.hex()).short();
        let mut args = vec![
            Bytes::from_static(operation.as_bytes()),
            Bytes::from(fingerprint),
            Bytes::from(SESSION.as_millis().to_string()),
        ];
        args.extend(note.map(AuditNote::encode).into_iter().flatten());
        let keys = vec![self.shared.keys.audit(), self.shared.keys.session(&key.cookie.hex())];
        match self.shared.run(&ScriptCall { script: Script::Sessions, keys, args }).await? {
            Reply::Int(ms) => Ok(u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)),
            other => Err(LedgerError::unexpected("sessions", &other)),
        }
    }

    pub async fn open_session(&self, key: SessionKey<'_>, by: &ChangedBy) -> Result<Duration, LedgerError> {
        let subject = key.cookie.short();
        let note = AuditNote::new(by, Action::SessionCreate, &subject);
        Ok(self.session("open", key, Some(&note)).await?.unwrap_or(SESSION))
    }

    /// Remaining lifetime of a session, if it exists. During an outage the last minutes' answers are used.
    pub async fn find_session(&self, key: SessionKey<'_>) -> Result<Option<Duration>, LedgerError> {
        let cache = &self.shared.sessions;
        let name = format!("{}{}", key.cookie.hex(), key.admin.short());
        if cache.remaining(&name).is_none() {
            if cache.refused.has(&name) {
                return Ok(None);
            }
            cache.refused.turn().await;
        }
        match self.session("look", key, None).await {
            Ok(remaining) => {
                if remaining.is_none() {
                    cache.refused.note(&name);
                }
                cache.update(name, remaining);
                Ok(remaining)
            }
            Err(outage @ LedgerError::Unreachable { .. }) => cache.remaining(&name).map(Some).ok_or(outage),
            Err(error) => Err(error),
        }
    }

    pub async fn end_session(&self, key: SessionKey<'_>, by: &ChangedBy) -> Result<(), LedgerError> {
        let subject = key.cookie.short();
        let note = AuditNote::new(by, Action::SessionDelete, &subject);
        self.session("end", key, Some(&note)).await.map(drop)
    }
}
