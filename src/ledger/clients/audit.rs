//! Who changed what: an entry is written by the script that makes the change; here they are packed and read.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::ledger::{
    error::LedgerError,
    reports::journal::RecordId,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct ChangedBy {
    /// `admin`, or `cli` for the command on the store itself.
    pub actor: &'static str,
    pub address: Option<String>,
}

/// What was done; the names stand in the audit for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    ClientCreate,
    ClientUpdate,
    ClientRotate,
    ClientRevoke,
    ClientDelete,
    RoutingSet,
    ProviderReset,
    ProviderSwitch,
    ModelSwitch,
    SessionCreate,
    SessionDelete,
}

impl Action {
    pub fn as_str(self) -> &'static str {
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
            Self::SessionCreate => "session.create",
            Self::SessionDelete => "session.delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry on its way. An empty map is none.
#[derive(Debug)]
pub(in crate::ledger) struct Note<'a> {
    pub by: &'a ChangedBy,
    pub action: Action,
    pub subject: &'a str,
    pub before: Map<String, Value>,
    pub after: Map<String, Value>,
}

impl Note<'_> {
    /// As `lib/audit_entry.lua` reads it.
    pub fn words(&self) -> [Bytes; 6] {
        let json = |map: &Map<String, Value>| {
            if map.is_empty() { Bytes::new() } else { Bytes::from(Value::Object(map.clone()).to_string()) }
        };
        let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        [
            text(self.by.actor),
            text(self.action.as_str()),
            text(self.subject),
            json(&self.before),
            json(&self.after),
            text(self.by.address.as_deref().unwrap_or_default()),
        ]
    }
}

/// An entry as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Names it, and sorts by time.
    pub id: String,
    pub time: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub address: Option<String>,
}

/// Words of one entry in the reply.
const WORDS: usize = 7;

impl Ledger {
    /// The newest entries first; `below`: the id of the last one on the page before.
    pub async fn audit(&self, below: Option<RecordId>, most: usize) -> Result<Vec<AuditEntry>, LedgerError> {
        let from = below.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let call = ScriptCall {
            script: Script::AuditRead,
            keys: vec![self.shared.keys.audit()],
            args: vec![Bytes::from(from), Bytes::from(most.to_string())],
        };
        let reply = self.shared.run(&call).await?;
        let Reply::List(words) = &reply else {
            return Err(LedgerError::Internal(format!("`audit` answered {reply:?}")));
        };
        Ok(words.chunks_exact(WORDS).filter_map(read).collect())
    }
}

fn read(words: &[Reply]) -> Option<AuditEntry> {
    let text = |at: usize| match words.get(at) {
        Some(Reply::Bulk(text)) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    let json = |at| serde_json::from_str(&text(at)?).ok();
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
