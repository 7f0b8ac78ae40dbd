//! Finished requests on their way into the pool: one call per batch, each batch written once.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Ledger, admission::LedgerError, host::ScriptCall, journal::JournalLine, rollup::Added, scripts::Script};

/// Lines the journal keeps, about.
pub const JOURNAL_MOST: usize = 10_000;

impl Ledger {
    /// Writes finished requests to the pool's journal, totals and roll-ups. `number` is the batch's, and rises from 1: one
    /// that was written before (its reply was lost) is not written again.
    pub async fn record(&self, number: u64, batch: &[JournalLine]) -> Result<(), LedgerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        // Lines tell a replica's time; roll-ups go by the ledger's, and nothing is of tomorrow.
        let now_ms = self.now_ms();
        let ahead_ms = now_ms - jiff::Timestamp::now().as_millisecond();
        let (mut members, mut added, mut lines) = (BTreeMap::new(), Added::default(), Vec::new());
        for line in batch {
            let at_ms = (line.time_ms + ahead_ms).min(now_ms);
            added.count(line, at_ms);
            if line.member {
                let last = members.entry(&*line.client).or_insert(at_ms);
                *last = at_ms.max(*last);
            }
            lines.push(Bytes::from_static(if line.status < 400 { b"1" } else { b"0" }));
            let text = serde_json::to_vec(line).map_err(|e| LedgerError::Internal(e.to_string()))?;
            lines.push(Bytes::from(text));
        }
        let mut keys = vec![shared.keys.totals(), shared.keys.journal(), shared.keys.batch(&shared.replica)];
        keys.extend(members.keys().map(|id| shared.keys.member(id)));
        let head = [number.to_string(), JOURNAL_MOST.to_string(), batch.len().to_string(), members.len().to_string()];
        let mut args: Vec<Bytes> = head.into_iter().map(Bytes::from).collect();
        args.extend(lines);
        args.extend(members.values().map(|ms| Bytes::from(ms.to_string())));
        added.pack(&shared.keys, &mut keys, &mut args);
        shared.run(&ScriptCall { script: Script::Record, keys, args }).await.map(drop)
    }
}
