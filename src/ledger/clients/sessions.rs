//! Log-ins of the web page: kept in the ledger, so that they hold at every replica and can be ended.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Map;
use tokio::time::Instant;

use crate::domain::KeyDigest;
use crate::ledger::{
    clients::{
        audit::{Action, ChangedBy, Note},
        lookup::MAX_RECORD_AGE,
    },
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// How long a log-in lasts.
pub const SESSION: Duration = Duration::from_hours(12);

/// A session as the ledger knows it: by the digest of its cookie, and by the admin key that opened it.
#[derive(Debug, Clone, Copy)]
pub struct SessionKey<'a> {
    pub cookie: &'a KeyDigest,
    pub admin: &'a KeyDigest,
}

/// Sessions this replica has seen, for the time that the ledger is away: when, and when they end.
#[derive(Default)]
pub(crate) struct SessionsSeen(Mutex<HashMap<String, (Instant, Instant)>>);

impl SessionsSeen {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, (Instant, Instant)>) -> T) -> T {
        // A poisoned lock is a panic between two changes: what stands in the map is whole.
        work(&mut self.0.lock())
    }

    fn saw(&self, session: String, left: Option<Duration>) {
        let now = Instant::now();
        self.with(|seen| {
            seen.retain(|_, (at, ends)| at.elapsed() < MAX_RECORD_AGE && *ends > now);
            match left {
                Some(left) => seen.insert(session, (now, now + left)),
                None => seen.remove(&session),
            }
        });
    }

    fn left(&self, session: &str) -> Option<Duration> {
        let (at, ends) = self.with(|seen| seen.get(session).copied())?;
        let left = ends.saturating_duration_since(Instant::now());
        (at.elapsed() < MAX_RECORD_AGE && !left.is_zero()).then_some(left)
    }
}

impl Ledger {
    /// What is left of a session; `None`: there is no such.
    async fn session(
        &self,
        what: &'static str,
        key: SessionKey<'_>,
        note: Option<&Note<'_>>,
    ) -> Result<Option<Duration>, LedgerError> {
        // Not the digest by which the key itself is compared.
        let fingerprint = KeyDigest::of(&key.admin.hex()).short();
        let mut args = vec![
            Bytes::from_static(what.as_bytes()),
            Bytes::from(fingerprint),
            Bytes::from(SESSION.as_millis().to_string()),
        ];
        args.extend(note.map(Note::words).into_iter().flatten());
        let keys = vec![self.shared.keys.audit(), self.shared.keys.session(&key.cookie.hex())];
        match self.shared.run(&ScriptCall { script: Script::Sessions, keys, args }).await? {
            Reply::Int(left) => Ok(u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)),
            other => Err(LedgerError::Internal(format!("`sessions` answered {other:?}"))),
        }
    }

    pub async fn open_session(&self, key: SessionKey<'_>, by: &ChangedBy) -> Result<Duration, LedgerError> {
        let name = key.cookie.short();
        let note = Note { by, action: Action::SessionCreate, subject: &name, before: Map::new(), after: Map::new() };
        Ok(self.session("open", key, Some(&note)).await?.unwrap_or(SESSION))
    }

    /// What is left of a session; while the ledger is away, by what was seen in the last minutes.
    pub async fn find_session(&self, key: SessionKey<'_>) -> Result<Option<Duration>, LedgerError> {
        let seen = &self.shared.sessions;
        let name = format!("{}{}", key.cookie.hex(), key.admin.short());
        match self.session("look", key, None).await {
            Ok(left) => {
                seen.saw(name, left);
                Ok(left)
            }
            Err(LedgerError::Unreachable { retry_ms }) => {
                seen.left(&name).map(Some).ok_or(LedgerError::Unreachable { retry_ms })
            }
            Err(ours) => Err(ours),
        }
    }

    pub async fn end_session(&self, key: SessionKey<'_>, by: &ChangedBy) -> Result<(), LedgerError> {
        let name = key.cookie.short();
        let note = Note { by, action: Action::SessionDelete, subject: &name, before: Map::new(), after: Map::new() };
        self.session("end", key, Some(&note)).await.map(drop)
    }
}
