//! Servers that tell themselves which models they have: a local Ollama, and the operator's own servers without a list.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::App;
use crate::{
    catalog::{Catalog, ToDiscover, to_discover},
    config::Settings,
    upstream::Upstream,
};

/// One that is not there refuses at once; one that is slow to answer must not hold up the start.
const WITHIN_MS: u64 = 1_500;
/// A model pulled, or an Ollama started, is seen this soon.
const PERIOD: Duration = Duration::from_secs(15);

type Discovered = BTreeMap<String, Vec<String>>;

/// Asks them all at once. Who does not answer keeps what it had: its breaker tells whether it works.
pub async fn ask(upstream: &Upstream, settings: &Settings, before: &Discovered) -> Discovered {
    let asked = to_discover(settings).into_iter().map(|server| async move {
        let ToDiscover { provider, base_url, key, model_list_prefix } = server;
        let models = match upstream.list_models(&base_url, key.as_ref(), &model_list_prefix, WITHIN_MS).await {
            Ok(models) => models.into_iter().map(|model| model.id).collect(),
            Err(error) => {
                debug!(provider.name = %provider, "`{provider}` does not name its models: {error}");
                before.get(&provider)?.clone()
            }
        };
        Some((provider, models))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Looks again and again, and takes what is new into the catalogue.
pub fn keep_asking(app: &Arc<App>) {
    let this = app.clone();
    app.tasks.spawn_endless(async move {
        loop {
            sleep(PERIOD).await;
            this.look_again().await;
        }
    });
}

impl App {
    async fn look_again(&self) {
        let settings = self.settings.load_full();
        let before = self.discovered.load_full();
        let found = ask(&self.upstream, &settings, &before).await;
        // A reload in the meantime has asked by itself.
        if found == *before || !Arc::ptr_eq(&settings, &self.settings.load()) {
            return;
        }
        match Catalog::build(&settings, &found) {
            Ok(catalog) => {
                for (provider, models) in &found {
                    if before.get(provider) != Some(models) {
                        info!(provider.name = %provider, "`{provider}` serves {}", models.join(", "));
                    }
                }
                self.catalog.store(Arc::new(catalog));
                self.discovered.store(Arc::new(found));
            }
            Err(error) => warn!("Found models that cannot be taken over: {error}"),
        }
    }
}
