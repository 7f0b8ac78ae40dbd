//! The audit log. The script that makes a change also writes its entry; this file encodes and reads entries.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::ledger::{
    error::LedgerError,
    reports::journal::RecordId,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct ChangedBy {
    /// `admin`, or `cli` for a command that works on the store directly.
    pub actor: &'static str,
    pub address: Option<String>,
}

/// The kinds of changes. Their names are stored in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Action {
    ClientCreate,
    ClientUpdate,
    ClientRotate,
    ClientRevoke,
    ClientDelete,
    RoutingSet,
    ProviderReset,
    ProviderSwitch,
    ModelSwitch,
    LimitForget,
    SessionCreate,
    SessionDelete,
    ProviderKeyCreate,
    ProviderKeyUpdate,
    ProviderKeyDelete,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::ClientCreate => "client.create",
            Self::ClientUpdate => "client.update",
            Self::ClientRotate => "client.rotate",
            Self::ClientRevoke => "client.revoke",
            Self::ClientDelete => "client.delete",
            Self::RoutingSet => "routing.set",
            Self::ProviderReset => "provider.reset",
            Self::ProviderSwitch => "provider.switch",
            Self::ModelSwitch => "model.switch",
            Self::LimitForget => "limit.forget",
            Self::SessionCreate => "session.create",
            Self::SessionDelete => "session.delete",
            Self::ProviderKeyCreate => "provider_key.create",
            Self::ProviderKeyUpdate => "provider_key.update",
            Self::ProviderKeyDelete => "provider_key.delete",
        }
    }
}

/// An entry to be written. An empty map is stored as none.
#[derive(Debug)]
pub(in crate::ledger) struct AuditNote<'a> {
    pub by: &'a ChangedBy,
    pub action: Action,
    pub subject: &'a str,
    pub before: Map<String, Value>,
    pub after: Map<String, Value>,
}

impl<'a> AuditNote<'a> {
    /// An entry without values before and after.
    pub(crate) fn new(by: &'a ChangedBy, action: Action, subject: &'a str) -> Self {
        Self { by, action, subject, before: Map::new(), after: Map::new() }
    }

    /// The arguments that `lua/lib/audit_entry.lua` reads.
    pub(crate) fn encode(&self) -> [Bytes; 6] {
        let json = |map: &Map<String, Value>| {
            if map.is_empty() { Bytes::new() } else { Bytes::from(serde_json::to_vec(map).unwrap_or_default()) }
        };
        [
            encode::text(self.by.actor),
            encode::text(self.action.as_str()),
            encode::text(self.subject),
            json(&self.before),
            json(&self.after),
            encode::text(self.by.address.as_deref().unwrap_or_default()),
        ]
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Identifies the entry and sorts by time.
    pub id: String,
    pub time: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub address: Option<String>,
}

/// Words per entry in the reply of `audit_read`.
const ENTRY_WORDS: usize = 7;

impl Ledger {
    /// The newest entries, newest first: at most `limit` of those older than `below`.
    pub async fn audit(&self, below: Option<RecordId>, limit: usize) -> Result<Vec<AuditEntry>, LedgerError> {
        let from = below.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let call = ScriptCall {
            script: Script::AuditRead,
            keys: vec![self.shared.keys.audit()],
            args: vec![Bytes::from(from), encode::number(limit)],
        };
        let reply = self.shared.run(&call).await?;
        let Reply::List(words) = &reply else { return Err(LedgerError::unexpected("audit_read", &reply)) };
        Ok(words.as_chunks::<ENTRY_WORDS>().0.iter().filter_map(decode_entry).collect())
    }
}

fn decode_entry(words: &[Reply; ENTRY_WORDS]) -> Option<AuditEntry> {
    let text = |at: usize| words[at].as_str().map(str::to_owned);
    let json = |at: usize| serde_json::from_str(words[at].as_str()?).ok();
    let id = text(0)?;
    Some(AuditEntry {
        time: Timestamp::from_millisecond(id.split('-').next()?.parse().ok()?).ok()?,
        actor: text(1)?,
        action: text(2)?,
        subject: text(3)?,
        before: json(4),
        after: json(5),
        address: text(6).filter(|address| !address.is_empty()),
        id,
    })
}
