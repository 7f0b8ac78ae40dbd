//! Client records and sessions that this replica has read, for planning and for an outage of Redis.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::refused::Refused;
use crate::domain::{ClientRecord, KeyDigest, KeyRefused, Limit};

/// A record of at most this age is good enough to plan by, and a key or session validated within this time is still
/// accepted during a Redis outage.
pub const MAX_RECORD_AGE: Duration = Duration::from_mins(5);
const MAX_CACHED_CLIENTS: usize = 10_000;

/// What this replica knows of clients.
#[derive(Default)]
pub(crate) struct ClientCache {
    pub settings: ArcSwap<FileClients>,
    records: Mutex<HashMap<Arc<str>, CachedClient>>,
    /// Ids without a record, and digests of keys that no record has.
    pub(super) refused: Refused,
    /// Last use of each key since the uses were last written down.
    used: Mutex<HashMap<Arc<str>, Instant>>,
}

/// What the operator's settings define about clients.
#[derive(Default)]
pub(crate) struct FileClients {
    pub clients: Arc<[ClientRecord]>,
    /// `RATE_LIMIT_RPM`: limits of every client that has no own limit of that name.
    pub default_limits: Arc<[(Limit, i64)]>,
}

impl FileClients {
    pub(crate) fn get(&self, id: &str) -> Option<&ClientRecord> {
        self.clients.iter().find(|client| *client.id == *id)
    }
}

#[derive(Clone)]
pub(super) struct CachedClient {
    pub record: Arc<ClientRecord>,
    /// The ledger's time when it was read.
    now_ms: i64,
    read_at: Instant,
}

impl CachedClient {
    pub(super) fn age(&self) -> Duration {
        self.read_at.elapsed()
    }

    pub(super) fn check(&self, digest: &KeyDigest) -> Result<(), KeyRefused> {
        let passed = i64::try_from(self.age().as_millis()).unwrap_or(i64::MAX);
        self.record.check(digest, self.now_ms.saturating_add(passed))
    }
}

impl ClientCache {
    pub(super) fn get(&self, id: &str) -> Option<CachedClient> {
        self.records.lock().get(id).cloned()
    }

    pub(super) fn insert(&self, record: Arc<ClientRecord>, now_ms: i64) {
        let mut records = self.records.lock();
        if records.len() >= MAX_CACHED_CLIENTS {
            records.retain(|_, cached| cached.age() < MAX_RECORD_AGE);
        }
        if records.len() < MAX_CACHED_CLIENTS {
            records.insert(record.id.clone(), CachedClient { record, now_ms, read_at: Instant::now() });
        }
    }

    pub(super) fn remove(&self, id: &str) {
        self.records.lock().remove(id);
    }

    pub(super) fn mark_used(&self, id: &Arc<str>) {
        self.used.lock().insert(id.clone(), Instant::now());
    }

    pub(super) fn take_used(&self) -> Vec<(Arc<str>, Instant)> {
        self.used.lock().drain().collect()
    }
}

/// Sessions that this replica has validated: when, and when they end.
#[derive(Default)]
pub(crate) struct SessionCache {
    valid: Mutex<HashMap<String, (Instant, Instant)>>,
    pub(super) refused: Refused,
}

impl SessionCache {
    pub(super) fn update(&self, session: String, remaining: Option<Duration>) {
        let now = Instant::now();
        let mut sessions = self.valid.lock();
        sessions.retain(|_, (read_at, ends)| read_at.elapsed() < MAX_RECORD_AGE && *ends > now);
        match remaining {
            Some(remaining) => sessions.insert(session, (now, now + remaining)),
            None => sessions.remove(&session),
        };
    }

    pub(super) fn remaining(&self, session: &str) -> Option<Duration> {
        let (read_at, ends) = self.valid.lock().get(session).copied()?;
        let remaining = ends.saturating_duration_since(Instant::now());
        (read_at.elapsed() < MAX_RECORD_AGE && !remaining.is_zero()).then_some(remaining)
    }
}
