//! Looks at the lists of models of providers, once for all replicas, and compares them with the catalogue; and retires models
//! that their providers answer not to have.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tracing::{info, warn};

use super::Flow;
use crate::{
    config::builtin,
    domain::{
        Candidate, Fault, FaultKind, ListedModel, ModelFindings, Provider,
        provider::Status,
        time::{DAY_MS, HOUR_MS},
    },
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
/// How long a model is not served after its provider has answered not to have it.
const REFUSED_MS: i64 = DAY_MS;
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
        let now_ms = self.ledger.now_ms();
        let is_wanted = |provider: &Provider| match lists {
            Lists::Due => is_due(&findings, provider, now_ms),
            Lists::All => true,
            Lists::Of(wanted) => *provider.id == *wanted,
        };
        let providers = catalog.providers.iter().filter(|provider| has_list(provider) && is_wanted(provider));
        stream::iter(providers)
            .for_each_concurrent(MAX_CONCURRENT, |provider| self.look_at(provider, lists != Lists::Due))
            .await;
        Ok(())
    }

    /// `is_wanted`: the list is looked at even if it is not due, and models that were refused and are in it are served again.
    async fn look_at(&self, provider: &Arc<Provider>, is_wanted: bool) {
        let id = &*provider.id;
        if !matches!(self.ledger.claim_model_list(id, CLAIM_MS).await, Ok(true)) {
            return;
        }
        // Slow lists before this one may have taken longer than a claim lasts: another replica may have looked meanwhile.
        let Ok(findings) = self.ledger.read_findings().await else { return };
        if !is_wanted && !is_due(&findings, provider, self.ledger.now_ms()) {
            return;
        }
        let before = findings.get(id);
        let catalog = self.catalog.load_full();
        let key = catalog.candidates.iter().find(|c| c.provider.id == provider.id).and_then(|c| c.key.secret.clone());
        let prefix = &provider.wire.model_list_prefix;
        let list = self.upstream.list_models(&provider.base_url, key.as_ref(), prefix, TIMEOUT_MS).await;
        let now_ms = self.ledger.now_ms();
        let findings = match list {
            Ok(list) => {
                let elsewhere = names(id, Listing::Elsewhere).concat();
                let list: Vec<ListedModel> = list;
                if let Some(before) = before.filter(|_| is_wanted) {
                    let is_back = |refused: &&String| list.iter().any(|model| model.id == **refused);
                    let back: Vec<String> =
                        before.refused.keys().filter(is_back).map(|model| format!("{id}/{model}")).collect();
                    let _ = self.ledger.serve_again(&back).await; // an outage is logged where it begins
                }
                let rest: Vec<ListedModel> =
                    list.iter().filter(|model| !elsewhere.contains(&model.id.as_str())).cloned().collect();
                let mut findings = ModelFindings::compare(&names(id, Listing::Expected), &rest, before, now_ms);
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

impl Flow {
    /// Retires a model for all replicas and for a day, if its provider has answered that it is not there, for each of its
    /// accounts.
    pub(super) fn note_refused(&self, candidate: &Candidate, fault: &Fault) {
        let Candidate { provider, model, account, name, .. } = candidate;
        let cause = fault.outcome.cooldown.as_ref().map_or("", |cooldown| &cooldown.cause);
        let is_absent = fault.kind == FaultKind::Gone && is_absence(cause, fault.status);
        // A model that the operator lists, or a server of the operator, is not taken away by its answers.
        if !is_absent || model.listed || !has_list(provider) {
            return;
        }
        let snapshot = self.ledger.snapshot();
        let catalog = self.catalog.load();
        let mut others = catalog.candidates.iter().filter(|c| c.name == *name && c.account.id != account.id);
        let refuses = |other: &Arc<Candidate>| {
            let cooldown = snapshot.subject(other).and_then(|subject| subject.cooldown.as_ref());
            cooldown.is_some_and(|(_, cause)| is_absence(cause, None))
        };
        if !others.all(refuses) {
            return;
        }
        let (ledger, name, cause) = (self.ledger.clone(), name.clone(), cause.to_owned());
        self.tasks.spawn(async move {
            // An outage is logged where it begins, and the next refusal notes it again.
            if ledger.refuse_model(&name, &cause, REFUSED_MS).await.unwrap_or(false) {
                warn!(candidate.name = %name, "`{name}` is not served until tomorrow: {cause}");
            }
        });
    }
}

/// Whether a refusal says that the model is not there, rather than that this account may not use it.
fn is_absence(cause: &str, status: Option<u16>) -> bool {
    matches!(status, Some(404 | 410)) || matches!(cause, "404" | "410" | "no such model" | "archived")
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

/// Whether a provider's list is expected to have a model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    Expected,
    /// A model with an address of its own can be missing in the list.
    Elsewhere,
}

/// The names of each model that the catalogue serves at a provider, its id first.
fn names(provider: &str, listing: Listing) -> Vec<Vec<&'static str>> {
    let models = builtin().provider(provider).into_iter().flat_map(|table| &table.models);
    let is_expected = listing == Listing::Expected;
    let current =
        models.filter(|(_, model)| model.status != Some(Status::Retired) && model.url.is_none() == is_expected);
    current
        .map(|(id, model)| std::iter::once(id.as_str()).chain(model.aliases.iter().map(String::as_str)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(provider: &Provider, looked_ms: i64, has_failed: bool) -> Findings {
        let findings = ModelFindings { looked_ms, has_failed, ..ModelFindings::default() };
        Findings::from([(provider.id.to_string(), findings)])
    }

    #[test]
    fn a_list_is_due_after_six_hours_and_after_ten_minutes_if_it_could_not_be_read() {
        let groq = &crate::upstream::test_support::candidate("groq").provider;
        let now_ms = 1_800_000_000_000;
        assert!(is_due(&Findings::new(), groq, now_ms), "never looked at");
        for (has_failed, interval_ms) in [(false, 6 * 3_600_000), (true, 600_000)] {
            assert!(is_due(&found(groq, now_ms - interval_ms, has_failed), groq, now_ms));
            assert!(!is_due(&found(groq, now_ms - interval_ms + 1, has_failed), groq, now_ms));
        }
        let of_another =
            Findings::from([("gemini".to_owned(), ModelFindings { looked_ms: now_ms, ..Default::default() })]);
        assert!(is_due(&of_another, groq, now_ms));
        for of_the_operator in ["custom", "ollama"] {
            let provider = &crate::upstream::test_support::candidate(of_the_operator).provider;
            assert!(!is_due(&Findings::new(), provider, now_ms), "{of_the_operator}");
        }
    }
}
