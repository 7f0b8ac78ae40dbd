//! Reads how much of each account's allowance is used, where its provider reports it: every ten minutes for all replicas.

use std::sync::Arc;

use tracing::debug;

use super::Flow;
use crate::{
    domain::{Candidate, time::MINUTE_MS},
    ledger::Allowance,
};

const INTERVAL_MS: i64 = 10 * MINUTE_MS;
/// One replica reads it for all, for this time at most.
const CLAIM_MS: i64 = 15_000;
const TIMEOUT_MS: u64 = 10_000;

impl Flow {
    pub(crate) async fn look_at_allowances(&self) {
        let catalog = self.catalog.load_full();
        let mut seen: Vec<String> = Vec::new();
        for candidate in catalog.candidates.iter().filter(|candidate| candidate.provider.wire.usage_path.is_some()) {
            let account = format!("{}/{}", candidate.provider.id, candidate.account.id);
            if !seen.contains(&account) {
                self.look_at_allowance(candidate, &account).await;
                seen.push(account);
            }
        }
    }

    async fn look_at_allowance(&self, candidate: &Arc<Candidate>, account: &str) {
        let is_due = |now_ms: i64| {
            let known = self.ledger.allowances().get(account).copied();
            known.is_none_or(|known| now_ms - known.at_ms >= INTERVAL_MS)
        };
        let Some(path) = candidate.provider.wire.usage_path.as_deref().filter(|_| is_due(self.ledger.now_ms())) else {
            return;
        };
        // Another replica may have called the provider since the allowances were read.
        if self.ledger.read_findings().await.is_err() || !is_due(self.ledger.now_ms()) {
            return;
        }
        if !matches!(self.ledger.claim_allowance(account, CLAIM_MS).await, Ok(true)) {
            return;
        }
        let reported =
            self.upstream.allowance(&candidate.provider.base_url, path, candidate.key.secret.as_ref(), TIMEOUT_MS);
        let before = self.ledger.allowances().get(account).copied();
        let used_ppm = match reported.await {
            Ok(used_ppm) => Some(used_ppm),
            Err(error) => {
                debug!(provider.name = %candidate.provider.id, "`{account}` did not report the use of its allowance: {error}");
                // It is called again after an interval, not at once.
                before.and_then(|before| before.used_ppm)
            }
        };
        // An outage is logged where it begins.
        let _ = self.ledger.write_allowance(account, Allowance { used_ppm, at_ms: self.ledger.now_ms() }).await;
    }
}
