//! Members as the ledger keeps them: reading their records, and whether a key that is shown is one of theirs.
//!
//! A record seen a while ago is good enough to plan by, since the admission compares its version; and it is all there is
//! while the ledger is away.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{
    Client, ClientRecord, ClientSettings, ClientSource, KeyDigest, KeyRefused, Limit, client::ClientKind,
    client_record::Secret, key,
};
use crate::ledger::{
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// A key that was good so long ago is good while the ledger is away; and a record of that age may be planned by.
pub const MAX_RECORD_AGE: Duration = Duration::from_mins(5);
/// Records remembered at most.
const SEEN_MOST: usize = 10_000;
/// How soon a key's use stands in its record.
const USE_NOTED: Duration = Duration::from_secs(2);
/// Records of one call.
const BATCH: usize = 100;
/// Words of one record in the reply.
const WORDS: usize = 11;

/// Why nobody comes in with a member's key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthenticationError {
    #[error(transparent)]
    Refused(#[from] KeyRefused),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What this replica knows of members without asking.
#[derive(Default)]
pub(crate) struct Book {
    listed: ArcSwap<Listed>,
    seen: Mutex<HashMap<Arc<str>, Seen>>,
    /// When a key was used, since it was last written down.
    used: Mutex<HashMap<Arc<str>, Instant>>,
}

/// What the operator's settings say of members.
#[derive(Default)]
struct Listed {
    members: Arc<[ClientRecord]>,
    /// `RATE_LIMIT_RPM`, for everybody without a limit of its own.
    usual: Arc<[(Limit, i64)]>,
}

/// A record, and when it was read.
#[derive(Clone)]
struct Seen {
    member: Arc<ClientRecord>,
    now_ms: i64,
    at: Instant,
}

impl Seen {
    fn check(&self, shown: &KeyDigest) -> Result<(), KeyRefused> {
        let passed = i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.member.check(shown, self.now_ms.saturating_add(passed))
    }
}

impl Book {
    fn seen(&self, id: &str) -> Option<Seen> {
        self.seen.lock().get(id).cloned()
    }

    fn remember(&self, member: Arc<ClientRecord>, now_ms: i64) {
        let mut seen = self.seen.lock();
        if seen.len() >= SEEN_MOST {
            seen.retain(|_, seen| seen.at.elapsed() < MAX_RECORD_AGE);
        }
        if seen.len() < SEEN_MOST {
            seen.insert(member.id.clone(), Seen { member, now_ms, at: Instant::now() });
        }
    }

    pub(in crate::ledger) fn forget(&self, id: &str) {
        self.seen.lock().remove(id);
    }
}

impl Shared {
    /// Whether a member of the file of hashes is another one by now, or gone: the file may have been read anew while it
    /// waited. (Of the ledger's own members the script says it.)
    pub(in crate::ledger) fn has_left_the_file(&self, client: &Client) -> bool {
        if client.kind != ClientKind::Registered || client.version != 0 {
            return false;
        }
        let listed = self.members.listed.load();
        let found = listed.members.iter().find(|member| *member.id == *client.id).zip(client.shown.as_ref());
        found.is_none_or(|(member, shown)| {
            member.check(shown, self.known().now_ms()).is_err()
                || !member.client(shown, &listed.usual).has_terms_of(client)
        })
    }
}

impl Ledger {
    /// What the settings say: members of the file of hashes, and the limits of whoever has none of its own.
    pub fn set_file_clients(&self, members: Arc<[ClientRecord]>, usual: Arc<[(Limit, i64)]>) {
        self.shared.members.listed.store(Arc::new(Listed { members, usual }));
    }

    /// The members of the file of hashes.
    pub fn file_clients(&self) -> Arc<[ClientRecord]> {
        self.shared.members.listed.load().members.clone()
    }

    pub(in crate::ledger) fn is_listed(&self, id: &str) -> bool {
        self.shared.members.listed.load().members.iter().any(|member| *member.id == *id)
    }

    /// The ledger's time by this replica's reckoning, ms.
    pub fn now_ms(&self) -> i64 {
        self.shared.known().now_ms()
    }

    /// Who shows this key. A record seen `within` may decide for it, an older one only while the ledger is away.
    pub async fn authenticate(&self, shown: &str, within: Duration) -> Result<Client, AuthenticationError> {
        let id = key::id_of(shown).ok_or(KeyRefused::Unknown)?;
        self.verify(id, &KeyDigest::of(shown), within).await
    }

    /// The same client as its record is now; what to ask for when an admission found that it has changed.
    pub async fn reauthenticate(&self, client: &Client) -> Result<Client, AuthenticationError> {
        let shown = client.shown.as_ref().ok_or(KeyRefused::Unknown)?;
        self.verify(&client.id, shown, Duration::ZERO).await
    }

    async fn verify(&self, id: &str, shown: &KeyDigest, within: Duration) -> Result<Client, AuthenticationError> {
        let book = &self.shared.members;
        let listed = book.listed.load();
        if let Some(member) = listed.members.iter().find(|member| *member.id == *id) {
            member.check(shown, self.now_ms())?;
            return Ok(member.client(shown, &listed.usual));
        }
        let enough = if self.is_reachable() { within } else { MAX_RECORD_AGE };
        // A record that refuses may have changed since.
        let seen = book.seen(id).filter(|seen| seen.check(shown).is_ok());
        if let Some(seen) = seen.as_ref().filter(|seen| !enough.is_zero() && seen.at.elapsed() <= enough) {
            self.was_used(&seen.member.id);
            return Ok(seen.member.client(shown, &listed.usual));
        }
        match self.read_clients(&[id]).await {
            Ok((now_ms, mut found)) => {
                let Some(member) = found.pop().flatten() else {
                    book.forget(id);
                    return Err(KeyRefused::Unknown.into());
                };
                if let Err(refused) = member.check(shown, now_ms) {
                    book.forget(id);
                    return Err(refused.into());
                }
                let client = member.client(shown, &listed.usual);
                book.remember(Arc::new(member), now_ms);
                self.was_used(&client.id);
                Ok(client)
            }
            Err(away @ LedgerError::Unreachable { .. }) => match seen {
                Some(seen) if seen.at.elapsed() <= MAX_RECORD_AGE => Ok(seen.member.client(shown, &listed.usual)),
                _ => Err(away.into()),
            },
            Err(ours) => Err(ours.into()),
        }
    }

    fn was_used(&self, id: &Arc<str>) {
        self.shared.members.used.lock().insert(id.clone(), Instant::now());
    }

    /// One member of the ledger, read afresh.
    pub async fn client_record(&self, id: &str) -> Result<Option<ClientRecord>, LedgerError> {
        Ok(self.read_clients(&[id]).await?.1.pop().flatten())
    }

    /// The ledger's time, and each of these members.
    pub(in crate::ledger) async fn read_clients(
        &self,
        ids: &[&str],
    ) -> Result<(i64, Vec<Option<ClientRecord>>), LedgerError> {
        let keys = &self.shared.keys;
        let (mut now_ms, mut members) = (0, Vec::with_capacity(ids.len()));
        for ids in ids.chunks(BATCH) {
            let mut all = vec![keys.meta(), keys.clients()];
            all.extend(ids.iter().map(|id| keys.member(id)));
            let reply = self.shared.run(&ScriptCall { script: Script::ClientGet, keys: all, args: Vec::new() }).await?;
            let Reply::List(words) = &reply else { return Err(strange(&reply)) };
            let [Reply::Int(now), records @ ..] = &words[..] else { return Err(strange(&reply)) };
            now_ms = *now;
            members.extend(ids.iter().zip(records.chunks(WORDS)).map(|(id, words)| read(id, words)));
        }
        Ok((now_ms, members))
    }

    /// The newest members first, of those at places lower than `below`.
    pub async fn list_clients(&self, below: i64, most: usize) -> Result<ClientPage, LedgerError> {
        let keys = &self.shared.keys;
        let args = vec![Bytes::from(most.to_string()), Bytes::from(below.to_string())];
        let call = ScriptCall { script: Script::ClientGet, keys: vec![keys.meta(), keys.clients()], args };
        let reply = self.shared.run(&call).await?;
        let Reply::List(words) = &reply else { return Err(strange(&reply)) };
        let [Reply::Int(_), Reply::Int(_), page @ ..] = &words[..] else { return Err(strange(&reply)) };
        let places: Vec<(&str, i64)> = page
            .chunks_exact(2)
            .filter_map(|pair| Some((text(pair.first())?, text(pair.get(1))?.parse().ok()?)))
            .collect();
        let ids: Vec<&str> = places.iter().map(|(id, _)| *id).collect();
        let records = self.read_clients(&ids).await?.1;
        // One that was deleted in between is not there any more.
        let members = records.into_iter().zip(&places).filter_map(|(member, (_, place))| Some((member?, *place)));
        let last = places.last().filter(|_| places.len() == most).map(|(_, place)| *place);
        Ok(ClientPage { members: members.collect(), last })
    }

    /// How many members the ledger holds.
    pub async fn count_clients(&self) -> Result<i64, LedgerError> {
        let keys = &self.shared.keys;
        let args = vec![Bytes::from_static(b"0"), Bytes::from_static(b"+inf")];
        let call = ScriptCall { script: Script::ClientGet, keys: vec![keys.meta(), keys.clients()], args };
        let reply = self.shared.run(&call).await?;
        match &reply {
            Reply::List(words) if let [_, Reply::Int(count), ..] = &words[..] => Ok(*count),
            _ => Err(strange(&reply)),
        }
    }

    async fn note_used(&self) -> Result<(), LedgerError> {
        let used: Vec<(Arc<str>, Instant)> = self.shared.members.used.lock().drain().collect();
        for batch in used.chunks(BATCH) {
            let mut keys = vec![self.shared.keys.meta()];
            keys.extend(batch.iter().map(|(id, _)| self.shared.keys.member(id)));
            let args = batch.iter().map(|(_, at)| Bytes::from(at.elapsed().as_millis().to_string())).collect();
            self.shared.run(&ScriptCall { script: Script::ClientTouch, keys, args }).await?;
        }
        Ok(())
    }
}

/// Members with their places in the list.
#[derive(Debug)]
pub struct ClientPage {
    pub members: Vec<(ClientRecord, i64)>,
    /// Where the next page begins; `None`: this is the last.
    pub last: Option<i64>,
}

/// Writes down when keys were used, a little later and many at once.
pub(in crate::ledger) fn keep_used(ledger: &Ledger) {
    let noting = ledger.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(USE_NOTED).await;
            // While the ledger is away it is not noted: nothing depends on it.
            let _ = noting.note_used().await;
        }
    });
}

fn strange(reply: &Reply) -> LedgerError {
    LedgerError::Internal(format!("`members` answered {reply:?}"))
}

fn text(word: Option<&Reply>) -> Option<&str> {
    match word {
        Some(Reply::Bulk(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// A record: `v off exp rec d old oldx made rot rev used`.
fn read(id: &str, words: &[Reply]) -> Option<ClientRecord> {
    let text = |at: usize| text(words.get(at));
    let number = |at| text(at).and_then(|text| text.parse::<i64>().ok());
    let instant = |at| number(at).filter(|ms| *ms > 0);
    let version = number(0)?;
    // What another version wrote and we cannot read must not open anything: such a record counts as switched off.
    let unreadable = || ClientSettings { disabled: true, ..ClientSettings::default() };
    let settings = text(3).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(unreadable);
    let secret = |at, until_ms| Some(Secret { digest: KeyDigest::from_hex(text(at)?)?, until_ms });
    let old = secret(5, Some(number(6).unwrap_or(0)));
    let revoked_ms = instant(9);
    Some(ClientRecord {
        id: id.into(),
        source: ClientSource::Store,
        settings,
        version,
        secrets: secret(4, None).into_iter().chain(old).collect(),
        created_ms: instant(7),
        rotated_ms: instant(8),
        revoked_ms,
        used_ms: instant(10),
    })
}
