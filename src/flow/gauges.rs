//! What a collection of measurements looks at: the last look at the pool, never the ledger's host.

use std::{collections::HashSet, sync::Arc};

use super::Flow;
use crate::{
    domain::Scope,
    record::metrics::{ALL_MODELS, Breaker, Budget, GaugeSource},
};

impl GaugeSource for Flow {
    fn budgets(&self) -> Vec<Budget> {
        let (catalog, snapshot) = (self.catalog.load(), self.ledger.snapshot());
        let mut told = HashSet::new();
        let mut budgets = Vec::new();
        for candidate in &catalog.candidates {
            let Some(seen) = snapshot.subject(candidate) else { continue };
            for window in candidate.windows.iter() {
                // A limit can stand over the account and over the model.
                let is_of = |max: i64, learned: bool| max == window.max || learned;
                let mut levels = seen.levels.iter().filter(|level| level.limit == window.limit);
                let Some(level) = levels.find(|level| is_of(level.max, level.learned)) else { continue };
                let model: Arc<str> =
                    if window.scope == Scope::Account { ALL_MODELS.into() } else { candidate.model.id.clone() };
                let (provider, account) = (candidate.provider.id.clone(), candidate.account.id.clone());
                // Sibling keys share it, and models an account's.
                if told.insert((provider.clone(), account.clone(), model.clone(), window.limit)) {
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

    fn ledger_is_up(&self) -> bool {
        self.ledger.is_reachable()
    }
}
