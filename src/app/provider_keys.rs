//! Provider keys of the store in the catalogue: at the start, and whenever they change.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::App;
use crate::{
    config::{AddedKey, Settings},
    ledger::{Ledger, StoredKeys},
};

/// Time for Redis to reply at start. Later the keys come as soon as it does.
const START_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the keys before the first request, if the ledger replies.
pub(super) async fn read_at_start(ledger: &Ledger) {
    let read = async {
        while ledger.read_provider_keys().await.is_err() {
            sleep(RETRY_INTERVAL).await;
        }
    };
    let _ = timeout(START_TIMEOUT, read).await;
}

/// The settings with the keys of the store that are in force.
pub(super) fn with_stored<'a>(settings: &'a Settings, stored: &StoredKeys) -> Cow<'a, Settings> {
    let mut settings = Cow::Borrowed(settings);
    for key in &stored.keys {
        if let Some(secret) = key.in_force() {
            let provider = settings.to_mut().providers.entry(key.record.provider.clone()).or_default();
            let account = key.record.account().to_owned();
            provider.added_keys.push(AddedKey { secret: secret.clone(), account });
        }
    }
    settings
}

/// Builds the catalogue again whenever the keys of the store change from now on.
pub(super) fn follow(app: &Arc<App>) {
    let this = app.clone();
    let mut keys = app.state.flow.ledger.provider_keys();
    app.tasks.spawn_endless(async move {
        if !keys.borrow_and_update().keys.is_empty() {
            this.rediscover().await;
        }
        while keys.changed().await.is_ok() {
            keys.mark_unchanged();
            match this.install(None, None) {
                Ok(()) => {
                    info!("Provider keys have changed: {} models are served", this.catalog.load().models.len());
                    this.rediscover().await; // some servers list their models only for a key
                }
                Err(error) => warn!("The provider keys cannot be added to the catalogue: {error}"),
            }
        }
    });
}

impl App {
    pub(super) fn stored_keys(&self) -> Arc<StoredKeys> {
        self.state.flow.ledger.provider_keys().borrow().clone()
    }
}
