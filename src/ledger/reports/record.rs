//! Finished requests on their way into the pool: one call per batch, each batch written once.

use bytes::Bytes;

use crate::ledger::{
    error::LedgerError,
    reports::{journal::RequestRecord, rollup::Added},
    script::{engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

/// Lines the journal keeps, about.
pub const JOURNAL_MOST: usize = 10_000;

impl Ledger {
    /// Writes finished requests to the pool's journal, totals and roll-ups. `number` is the batch's, and rises from 1: one
    /// that was written before (its reply was lost) is not written again.
    pub async fn record(&self, number: u64, batch: &[RequestRecord]) -> Result<(), LedgerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        // Lines tell a replica's time; roll-ups go by the ledger's, and nothing is of tomorrow.
        let now_ms = self.now_ms();
        let ahead_ms = now_ms - jiff::Timestamp::now().as_millisecond();
        let mut added = Added::default();
        let head = [number.to_string(), JOURNAL_MOST.to_string(), batch.len().to_string()];
        let mut args: Vec<Bytes> = head.into_iter().map(Bytes::from).collect();
        for line in batch {
            added.count(line, (line.time_ms + ahead_ms).min(now_ms));
            args.push(Bytes::from_static(if line.status < 400 { b"1" } else { b"0" }));
            let text = serde_json::to_vec(line).map_err(|e| LedgerError::Internal(e.to_string()))?;
            args.push(Bytes::from(text));
        }
        let mut keys = vec![shared.keys.totals(), shared.keys.journal(), shared.keys.batch(&shared.replica)];
        added.pack(&shared.keys, &mut keys, &mut args);
        shared.run(&ScriptCall { script: Script::Record, keys, args }).await.map(drop)
    }
}
