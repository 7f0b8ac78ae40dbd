//! Looks at the lists of models of providers, once for all replicas, and compares them with the catalogue.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tracing::info;

use super::Flow;
use crate::{
    config::builtin,
    domain::{ListedModel, ModelFindings, Provider, provider::Status, time::HOUR_MS},
    ledger::{Findings, LedgerError},
};

/// How often a list is looked at.
const INTERVAL_MS: i64 = 6 * HOUR_MS;
/// The same after a list could not be read.
const RETRY_MS: i64 = HOUR_MS / 6;
/// One replica looks for all, for this time at most.
const CLAIM_MS: i64 = 15_000;
const TIMEOUT_MS: u64 = 10_000;
const MAX_CONCURRENT: usize = 4;
/// New models that are kept of one list.
const MAX_NEW: usize = 400;

/// Which lists to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists<'a> {
    /// Those at which no replica has looked for an interval.
    Due,
    All,
    Of(&'a str),
}

impl Flow {
    pub(crate) async fn look_at_model_lists(&self, lists: Lists<'_>) -> Result<(), LedgerError> {
        let catalog = self.catalog.load_full();
        let known = self.ledger.findings().borrow().clone();
        let now_ms = self.ledger.now_ms();
        if lists == Lists::Due && !catalog.providers.iter().any(|provider| is_due(&known, provider, now_ms)) {
            return Ok(());
        }
        // Another replica may have looked since the findings were read.
        let findings = self.ledger.read_findings().await?;
        let is_wanted = |provider: &Provider| match lists {
            Lists::Due => is_due(&findings, provider, now_ms),
            Lists::All => true,
            Lists::Of(wanted) => *provider.id == *wanted,
        };
        let providers = catalog.providers.iter().filter(|provider| has_list(provider) && is_wanted(provider));
        stream::iter(providers)
            .for_each_concurrent(MAX_CONCURRENT, |provider| self.look_at(provider, findings.get(&*provider.id)))
            .await;
        Ok(())
    }

    async fn look_at(&self, provider: &Arc<Provider>, before: Option<&ModelFindings>) {
        let id = &*provider.id;
        if !matches!(self.ledger.claim_model_list(id, CLAIM_MS).await, Ok(true)) {
            return;
        }
        let catalog = self.catalog.load_full();
        let key = catalog.candidates.iter().find(|c| c.provider.id == provider.id).and_then(|c| c.key.secret.clone());
        let prefix = &provider.wire.model_list_prefix;
        let list = self.upstream.list_models(&provider.base_url, key.as_ref(), prefix, TIMEOUT_MS).await;
        let now_ms = self.ledger.now_ms();
        let findings = match list {
            Ok(list) => {
                let list: Vec<ListedModel> = list;
                let mut findings = ModelFindings::compare(&names(id), &list, before, now_ms);
                findings.new.truncate(MAX_NEW);
                findings
            }
            Err(error) => ModelFindings::failed(before, error.to_string(), now_ms),
        };
        let is_news = before.is_none_or(|before| !before.serves_as(&findings));
        if is_news {
            let (new, gone) = (findings.new.len(), findings.gone.len());
            info!(provider.name = %id, models.new = new, models.gone = gone, "The list of `{id}`: {new} new, {gone} gone");
        }
        // An outage is logged where it begins; the next look writes again.
        let _ = self.ledger.write_findings(id, &findings, is_news).await;
    }
}

/// Servers of the operator and local ones are looked at by every replica, because each may reach others.
fn has_list(provider: &Provider) -> bool {
    provider.enabled && !provider.custom && !provider.local
}

fn is_due(findings: &Findings, provider: &Provider, now_ms: i64) -> bool {
    has_list(provider)
        && findings.get(&*provider.id).is_none_or(|findings| {
            let interval_ms = if findings.has_failed { RETRY_MS } else { INTERVAL_MS };
            now_ms - findings.looked_ms >= interval_ms
        })
}

/// The names of each model that the catalogue serves at a provider, its id first.
fn names(provider: &str) -> Vec<Vec<&'static str>> {
    let models = builtin().provider(provider).into_iter().flat_map(|table| &table.models);
    // A model with an address of its own is not in the list.
    let current = models.filter(|(_, model)| model.status != Some(Status::Retired) && model.url.is_none());
    current
        .map(|(id, model)| std::iter::once(id.as_str()).chain(model.aliases.iter().map(String::as_str)).collect())
        .collect()
}
