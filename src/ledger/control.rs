//! What an operator changes at run time, and the pool's journal: small calls beside the way of a request.

use bytes::Bytes;

use serde_json::{Map, Value};

use super::{
    Ledger,
    admission::LedgerError,
    audit::{Action, By, Note},
    host::{Reply, ScriptCall},
    journal::{JournalLine, Totals},
    scripts::Script,
};
use crate::domain::Order;

/// Lines the journal keeps, about.
const JOURNAL_MOST: usize = 10_000;

impl Ledger {
    async fn control(&self, what: &'static str, subject: &str, note: Note<'_>) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let mut args = vec![Bytes::from_static(what.as_bytes()), Bytes::copy_from_slice(subject.as_bytes())];
        args.extend(note.words());
        let keys = vec![shared.keys.meta(), shared.keys.health(), shared.keys.audit()];
        shared.run(&ScriptCall { script: Script::Control, keys, args }).await?;
        self.look().await
    }

    /// Sets the order of `free` for all replicas.
    pub async fn set_order(&self, order: Order, by: &By) -> Result<(), LedgerError> {
        let after = Map::from_iter([("strategy".to_owned(), Value::from(order.as_str()))]);
        let note = Note { by, action: Action::RoutingSet, subject: "free", before: Map::new(), after };
        self.control("order", order.as_str(), note).await
    }

    /// Closes every breaker of a provider, lifts its cool-downs and forgets what it said of its limits.
    pub async fn reset_provider(&self, provider: &str, by: &By) -> Result<(), LedgerError> {
        let (before, after) = (Map::new(), Map::new());
        self.control("reset", provider, Note { by, action: Action::ProviderReset, subject: provider, before, after })
            .await
    }

    /// Switches a provider (`groq`) or a model (`groq/openai/gpt-oss-120b`) on or off for all replicas' next admission.
    pub async fn switch(&self, subject: &str, on: bool, by: &By) -> Result<(), LedgerError> {
        let action = if subject.contains('/') { Action::ModelSwitch } else { Action::ProviderSwitch };
        let after = Map::from_iter([("enabled".to_owned(), Value::from(on))]);
        let note = Note { by, action, subject, before: Map::new(), after };
        self.control(if on { "on" } else { "off" }, subject, note).await
    }

    /// Writes finished requests to the pool's journal, in one call.
    pub async fn record(&self, batch: &[JournalLine]) -> Result<(), LedgerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut args = vec![Bytes::from(JOURNAL_MOST.to_string())];
        for line in batch {
            args.push(Bytes::from_static(if line.status < 400 { b"1" } else { b"0" }));
            let text = serde_json::to_vec(line).map_err(|e| LedgerError::Internal(e.to_string()))?;
            args.push(Bytes::from(text));
        }
        let keys = vec![self.shared.keys.totals(), self.shared.keys.journal()];
        self.shared.run(&ScriptCall { script: Script::Record, keys, args }).await.map(drop)
    }

    /// Totals of the pool, and the newest lines first.
    pub async fn journal(&self, last: usize) -> Result<(Totals, Vec<JournalLine>), LedgerError> {
        let call = ScriptCall {
            script: Script::Journal,
            keys: vec![self.shared.keys.totals(), self.shared.keys.journal()],
            args: vec![Bytes::from(last.to_string())],
        };
        let reply = self.shared.run(&call).await?;
        let Reply::List(items) = &reply else {
            return Err(LedgerError::Internal(format!("`journal` answered {reply:?}")));
        };
        let [Reply::Int(requests), Reply::Int(successes), Reply::Int(failures), lines @ ..] = &items[..] else {
            return Err(LedgerError::Internal("`journal` answered too little".to_owned()));
        };
        let totals = Totals { requests: *requests, successes: *successes, failures: *failures };
        // A line another version wrote and we cannot read is passed over.
        let lines = lines
            .iter()
            .filter_map(|line| if let Reply::Bulk(text) = line { serde_json::from_slice(text).ok() } else { None })
            .collect();
        Ok((totals, lines))
    }
}
