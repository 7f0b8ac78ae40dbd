//! Reads and writes findings, and claims work.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use super::findings::{Allowance, Findings};
use crate::{
    domain::{ModelFindings, RefusedModel},
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
        let names = &self.shared.keys;
        let keys = vec![names.findings(), names.refused_models(), names.allowances()];
        let reply = self.shared.run(&ScriptCall { script: Script::FindingsRead, keys, args: Vec::new() }).await?;
        let unexpected = || LedgerError::unexpected("findings_read", &reply);
        let Reply::List(all) = &reply else { return Err(unexpected()) };
        let [Reply::List(words), Reply::List(refused), Reply::List(allowances)] = &all[..] else {
            return Err(unexpected());
        };
        let allowances = allowances.as_chunks::<2>().0.iter();
        let allowances = allowances
            .filter_map(|[account, text]| Some((account.as_str()?.to_owned(), Allowance::parse(text.as_str()?)?)));
        self.shared.allowances.store(Arc::new(allowances.collect()));
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
        let mut findings: Findings = findings.collect();
        for [name, text] in refused.as_chunks::<2>().0 {
            if let Some((provider, model)) = name.as_str().and_then(|name| name.split_once('/'))
                && let Some(refusal) = text.as_str().and_then(refusal)
            {
                findings.entry(provider.to_owned()).or_default().refused.insert(model.to_owned(), refusal);
            }
        }
        let findings = Arc::new(findings);
        self.shared.findings.send_if_modified(|present| {
            let has_changed = **present != *findings;
            *present = findings.clone();
            has_changed
        });
        Ok(findings)
    }

    /// Notes for all replicas that a provider has answered not to have a model. It is not served for `ms`. Returns whether
    /// that is news.
    pub async fn refuse_model(&self, name: &str, cause: &str, ms: i64) -> Result<bool, LedgerError> {
        self.note_refused(&[name.to_owned()], cause, ms).await
    }

    /// Serves models again that were refused.
    pub async fn serve_again(&self, names: &[String]) -> Result<bool, LedgerError> {
        if names.is_empty() {
            return Ok(false);
        }
        self.note_refused(names, "", 0).await
    }

    async fn note_refused(&self, models: &[String], cause: &str, ms: i64) -> Result<bool, LedgerError> {
        let names = &self.shared.keys;
        let [queue, ..] = names.queue();
        let keys = vec![names.meta(), names.provider_keys(), names.refused_models(), queue];
        let args = [encode::number(ms), encode::text(cause)];
        let args = args.into_iter().chain(models.iter().map(|name| encode::text(name))).collect();
        let reply = self.shared.run(&ScriptCall { script: Script::ModelRefused, keys, args }).await?;
        let is_news = reply != Reply::Int(0);
        if is_news {
            self.read_findings().await?;
        }
        Ok(is_news)
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

/// `since until cause`
fn refusal(text: &str) -> Option<RefusedModel> {
    let mut words = text.splitn(3, ' ');
    let (since_ms, until_ms) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(RefusedModel { since_ms, until_ms, cause: words.next()?.to_owned() })
}
