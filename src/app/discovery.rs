//! Model discovery at servers that report their models: a local Ollama, and configured servers without a model list.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{App, shared_catalog};
use crate::{
    catalog::{Discovered, DiscoveredModel, ToDiscover, to_discover},
    config::Settings,
    domain::{ListedModel, first_and_more},
    ledger::Findings,
    upstream::Upstream,
};

/// A slow server must not delay the start; an absent one refuses immediately.
const TIMEOUT_MS: u64 = 1_500;
/// A new model or a newly started Ollama is noticed within this time.
const INTERVAL: Duration = Duration::from_secs(15);
/// Models that a log line names.
const MAX_LOGGED: usize = 10;

/// Queries all servers concurrently. A server that does not reply keeps its previous models; its breaker excludes it if it
/// is down.
pub(super) async fn discover(upstream: &Upstream, settings: &Settings, before: &Discovered) -> Discovered {
    let queries = to_discover(settings).into_iter().map(|server| async move {
        let ToDiscover { provider, base_url, key, model_list_prefix } = server;
        let models = match upstream.list_models(&base_url, key.as_ref(), &model_list_prefix, TIMEOUT_MS).await {
            Ok(models) => describe(upstream, &provider, &base_url, models, before.get(&provider)).await,
            Err(error) => {
                debug!(provider.name = %provider, "`{provider}` did not report its models: {error}");
                before.get(&provider)?.clone()
            }
        };
        Some((provider, models))
    });
    join_all(queries).await.into_iter().flatten().collect()
}

/// Adds what only Ollama's own API states, once per model.
async fn describe(
    upstream: &Upstream,
    provider: &str,
    base_url: &str,
    models: Vec<ListedModel>,
    before: Option<&Vec<DiscoveredModel>>,
) -> Vec<DiscoveredModel> {
    let described = models.into_iter().map(|ListedModel { id, context, max_output, capabilities, .. }| async move {
        let listed = DiscoveredModel { id, context, max_output, capabilities };
        match before.into_iter().flatten().find(|model| model.id == listed.id) {
            _ if provider != "ollama" => listed,
            Some(earlier) => earlier.clone(),
            None => match upstream.describe_ollama(base_url, &listed.id, TIMEOUT_MS).await {
                Some(ListedModel { context, capabilities, .. }) => DiscoveredModel { context, capabilities, ..listed },
                None => listed,
            },
        }
    });
    join_all(described).await
}

/// Repeats the discovery and adds new models to the catalogue.
pub(super) fn rediscover_periodically(app: &Arc<App>) {
    let this = app.clone();
    app.tasks.spawn_endless(async move {
        loop {
            sleep(INTERVAL).await;
            this.rediscover().await;
        }
    });
}

/// The first ids, and how many there are besides.
fn ids(models: &[DiscoveredModel]) -> String {
    first_and_more(models, MAX_LOGGED, "and ", |model| model.id.clone()).join(", ")
}

impl App {
    /// Asks all servers for their models again.
    pub(super) async fn rediscover(&self) {
        let settings = self.settings.load_full();
        let before = self.discovered.load_full();
        let with_keys = shared_catalog::with_shared(&settings, &self.stored_keys(), &Findings::new());
        let found = discover(&self.upstream, &with_keys, &before).await;
        // A reload in the meantime has done its own discovery.
        if found == *before || !Arc::ptr_eq(&settings, &self.settings.load()) {
            return;
        }
        match self.install(None, Some(found)) {
            Ok(()) => {
                for (provider, models) in &*self.discovered.load_full() {
                    if before.get(provider) != Some(models) {
                        info!(provider.name = %provider, "`{provider}` serves {}", ids(models));
                    }
                }
            }
            Err(error) => warn!("Discovered models cannot be added to the catalogue: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_the_first_models_of_a_long_list() {
        let models: Vec<DiscoveredModel> = (0..2_000).map(|n| format!("m{n}").as_str().into()).collect();
        assert_eq!(ids(&models[..2]), "m0, m1");
        assert!(ids(&models).ends_with("m9, and 1990 more"), "{}", ids(&models));
    }
}
