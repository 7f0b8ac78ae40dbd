//! Reads and writes findings, and claims work.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use super::findings::Findings;
use crate::{
    domain::ModelFindings,
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::{Ledger, Shared},
    },
};

impl Shared {
    /// Whether this replica may do a piece of work for all, for `ms` from now on.
    pub(in crate::ledger) async fn claim(&self, work: &str, ms: i64) -> Result<bool, LedgerError> {
        let call = ScriptCall {
            script: Script::Claim,
            keys: vec![self.keys.claim(work)],
            args: vec![encode::text(&self.replica), encode::number(ms)],
        };
        Ok(self.run(&call).await? == Reply::Int(1))
    }
}

impl Ledger {
    /// Whether this replica may read the list of a provider's models for all, for `ms` from now on.
    pub async fn claim_model_list(&self, provider: &str, ms: i64) -> Result<bool, LedgerError> {
        self.shared.claim(&format!("models:{provider}"), ms).await
    }

    /// What was found in the lists of models, as last read. Receivers are notified when it changes.
    pub fn findings(&self) -> watch::Receiver<Arc<Findings>> {
        self.shared.findings.subscribe()
    }

    /// Reads the findings of all replicas, which [`Ledger::findings`] shows from here on.
    pub async fn read_findings(&self) -> Result<Arc<Findings>, LedgerError> {
        let call =
            ScriptCall { script: Script::FindingsRead, keys: vec![self.shared.keys.findings()], args: Vec::new() };
        let reply = self.shared.run(&call).await?;
        let Reply::List(words) = &reply else { return Err(LedgerError::unexpected("findings_read", &reply)) };
        let findings = words.as_chunks::<2>().0.iter().filter_map(|[provider, text]| {
            let provider = provider.as_str()?;
            match serde_json::from_str(text.as_str()?) {
                Ok(findings) => Some((provider.to_owned(), findings)),
                Err(error) => {
                    warn!(provider.name = %provider, "The findings of `{provider}` cannot be read: {error}");
                    None
                }
            }
        });
        let findings = Arc::new(findings.collect::<Findings>());
        self.shared.findings.send_if_modified(|present| {
            let has_changed = **present != *findings;
            *present = findings.clone();
            has_changed
        });
        Ok(findings)
    }

    /// Shares findings with all replicas. They read `news` within a second, other findings within a minute.
    pub async fn write_findings(
        &self,
        provider: &str,
        findings: &ModelFindings,
        is_news: bool,
    ) -> Result<(), LedgerError> {
        let names = &self.shared.keys;
        let [queue, ..] = names.queue();
        let text = serde_json::to_string(findings).unwrap_or_default();
        let call = ScriptCall {
            script: Script::FindingsWrite,
            keys: vec![names.meta(), names.provider_keys(), names.findings(), queue],
            args: vec![encode::text(provider), encode::text(&text), encode::number(i32::from(is_news))],
        };
        self.shared.run(&call).await?;
        self.read_findings().await.map(drop)
    }
}
