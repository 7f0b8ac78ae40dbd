//! Client keys in the ledger: whether any exist, which decides if callers need one, and access to them for commands.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::info;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;

use super::{App, Storage, master_key, rules, script_engine};
use crate::{
    catalog::Catalog,
    config::{AuthMode, Settings},
    ledger::{Ledger, LedgerError, embedded::StoreError},
    shutdown::Tasks,
};

/// Time for Redis to reply at start.
const START_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
const LATE_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Whether the ledger holds client keys, or `None` if it has not replied. False without a look if callers need no key.
pub(super) async fn has_clients(ledger: &Ledger, settings: &Settings) -> Option<bool> {
    if settings.auth.mode == Some(AuthMode::Open) {
        return Some(false);
    }
    let count = async {
        loop {
            match ledger.count_clients().await {
                Ok(count) => return count > 0,
                Err(_) => sleep(RETRY_INTERVAL).await,
            }
        }
    };
    timeout(START_TIMEOUT, count).await.ok()
}

/// Looks for client keys until there is one: of this pool's replicas only the one that makes the first key knows it at once.
/// Without Redis that is this process, which needs to look only until its ledger has replied.
pub(super) fn watch_for_clients(app: &Arc<App>) {
    let this = app.clone();
    app.tasks.spawn_endless(async move {
        loop {
            if let Ok(count) = this.state.flow.ledger.count_clients().await {
                this.has_counted_clients.store(true, Ordering::Relaxed);
                if count > 0 {
                    this.state.note_clients();
                    return;
                }
                if this.settings.load().redis_url.is_none() {
                    return;
                }
            }
            sleep(LATE_RETRY_INTERVAL).await;
        }
    });
}

impl App {
    /// Ends the cooldowns of the providers whose address, keys or models in the configuration have changed since any replica noted
    /// them. Keys of the store and lists of models are no part of it: they change while requests are served, at each replica a
    /// little later than at the one before, and what is known of the other keys and models stays true.
    pub(super) async fn note_providers(&self) {
        let digests = self.configuration_digests();
        // Where the ledger cannot be reached, the task that every new configuration starts repeats it.
        let _ = note_once(&self.state.flow.ledger, &digests).await;
    }

    /// The same in the background, until the ledger can be reached.
    pub(super) fn note_providers_until_done(&self) {
        let (ledger, digests) = (self.state.flow.ledger.clone(), self.configuration_digests());
        self.tasks.spawn_endless(async move {
            while note_once(&ledger, &digests).await.is_err() {
                sleep(LATE_RETRY_INTERVAL).await;
            }
        });
    }

    fn configuration_digests(&self) -> Vec<(Arc<str>, String)> {
        let catalog = Catalog::build(&self.settings.load(), &self.discovered.load());
        catalog.map(|catalog| catalog.provider_digests()).unwrap_or_default()
    }
}

async fn note_once(ledger: &Ledger, digests: &[(Arc<str>, String)]) -> Result<(), LedgerError> {
    for provider in ledger.note_providers(digests).await? {
        info!(provider.name = %provider, "The address, keys or models of `{provider}` have changed: its breakers are closed and its cooldowns ended");
    }
    Ok(())
}

/// The configured ledger, opened by a command without a gateway.
pub(crate) struct Store {
    pub ledger: Ledger,
    tasks: Tasks,
}

/// The data directory is in use by another process.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StoreInUse(String);

/// Time for Redis to reply to a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Opens Redis or the data directory, which only one process can use at a time.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let engine = script_engine(settings, &tasks, Storage::Configured).map_err(|error| {
            let in_use = error.downcast_ref::<StoreError>().filter(|error| matches!(error, StoreError::InUse(_)));
            in_use.map(|error| StoreInUse(error.to_string()).into()).unwrap_or(error)
        })?;
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let ledger = Ledger::without_tasks(engine, &rules(settings), catalog, tasks.clone());
        ledger.set_file_clients(settings.clients.records.clone(), Arc::new([]));
        ledger.set_master_keys(master_key::read(settings, Storage::Configured)?);
        let reply = async {
            while ledger.count_clients().await.is_err() {
                sleep(RETRY_INTERVAL).await;
            }
        };
        if timeout(COMMAND_TIMEOUT, reply).await.is_err() {
            let error = ledger.count_clients().await.err().map(|error| error.to_string()).unwrap_or_default();
            bail!("Redis at REDIS_URL does not reply: {error}");
        }
        Ok(Self { ledger, tasks })
    }

    /// Waits until all changes are stored.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.ledger);
        self.tasks.drain(COMMAND_TIMEOUT).await.then_some(()).context("the store could not be closed in time")
    }
}
