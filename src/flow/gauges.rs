//! Values of the observable gauges, from the cached pool snapshot. A collection never calls the ledger.

use std::{collections::HashSet, sync::Arc};

use super::Flow;
use crate::{
    domain::{ModelFindings, Scope},
    ledger::KeyState,
    record::metrics::{ALL_MODELS, Breaker, Budget, GaugeSource},
};

impl GaugeSource for Flow {
    fn budgets(&self) -> Vec<Budget> {
        let (catalog, snapshot) = (self.catalog.load(), self.ledger.snapshot());
        let mut seen = HashSet::new();
        let mut budgets = Vec::new();
        for candidate in &catalog.candidates {
            let Some(subject) = snapshot.subject(candidate) else { continue };
            for window in candidate.windows.iter() {
                // The same limit can exist on the account and on the model.
                let is_of = |max: i64, learned: bool| max == window.max || learned;
                let mut levels = subject.levels.iter().filter(|level| level.limit == window.limit);
                let Some(level) = levels.find(|level| is_of(level.max, level.learned)) else { continue };
                let model: Arc<str> =
                    if window.scope == Scope::Account { ALL_MODELS.into() } else { candidate.model.id.clone() };
                let (provider, account) = (candidate.provider.id.clone(), candidate.account.id.clone());
                // Keys of an account share its windows, and so do models of an account-wide one.
                if seen.insert((provider.clone(), account.clone(), model.clone(), window.limit)) {
                    let (max, left) = (level.max, (level.max - level.used).max(0));
                    budgets.push(Budget { provider, account, model, limit: window.limit.as_str(), max, left });
                }
            }
        }
        budgets
    }

    fn breakers(&self) -> Vec<Breaker> {
        let (catalog, snapshot) = (self.catalog.load(), self.ledger.snapshot());
        let state = |name: &str| snapshot.breaker(name).as_gauge();
        let providers = catalog.providers.iter().map(|provider| Breaker {
            provider: provider.id.clone(),
            model: ALL_MODELS.into(),
            state: state(&provider.id),
        });
        let models = catalog.models.iter().map(|served| Breaker {
            provider: served.provider.id.clone(),
            model: served.model.id.clone(),
            state: state(&format!("{}/{}", served.provider.id, served.model.id)),
        });
        providers.chain(models).collect()
    }

    fn provider_keys(&self) -> Vec<(&'static str, usize)> {
        let stored = self.ledger.provider_keys().borrow().clone();
        KeyState::ALL.map(|state| (state.as_str(), stored.count(state))).to_vec()
    }

    fn found_models(&self) -> Vec<(String, &'static str, usize)> {
        let (findings, now_ms) = (self.ledger.findings().borrow().clone(), self.ledger.now_ms());
        let of = |(provider, found): (&String, &ModelFindings)| {
            let of = |change, models| (provider.clone(), change, models);
            [
                of("new", found.new.len()),
                of("gone", found.gone.len()),
                of("refused", found.refused.values().filter(|refused| refused.until_ms > now_ms).count()),
            ]
        };
        findings.iter().flat_map(of).collect()
    }

    fn ledger_is_up(&self) -> bool {
        self.ledger.is_reachable()
    }
}
