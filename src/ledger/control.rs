//! What an operator changes at run time, and the pool's journal: small calls beside the way of a request.

use bytes::Bytes;

use super::{
    Ledger,
    admission::LedgerError,
    host::{Reply, ScriptCall},
    journal::{JournalLine, Totals},
    scripts::Script,
};
use crate::domain::Order;

/// Lines the journal keeps, about.
const JOURNAL_MOST: usize = 10_000;

impl Ledger {
    async fn control(&self, what: &'static str, subject: &str) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let call = ScriptCall {
            script: Script::Control,
            keys: [shared.keys.meta(), shared.keys.health()].into_iter().chain(shared.keys.waiting_room()).collect(),
            args: vec![Bytes::from_static(what.as_bytes()), Bytes::copy_from_slice(subject.as_bytes())],
        };
        shared.run(&call).await?;
        self.look().await
    }

    /// Sets the order of `free` for all replicas.
    pub async fn set_order(&self, order: Order) -> Result<(), LedgerError> {
        self.control("order", order.as_str()).await
    }

    /// Closes every breaker of a provider, lifts its cool-downs and forgets what it said of its limits.
    pub async fn reset_provider(&self, provider: &str) -> Result<(), LedgerError> {
        self.control("reset", provider).await
    }

    /// Switches a provider (`groq`) or a model (`groq/openai/gpt-oss-120b`) on or off for all replicas' next admission.
    pub async fn switch(&self, subject: &str, on: bool) -> Result<(), LedgerError> {
        self.control(if on { "on" } else { "off" }, subject).await
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
