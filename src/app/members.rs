//! Members' keys in the ledger: they close a door of which nobody said that it is open, and commands change them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::info;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;

use super::{App, State, host, rules};
use crate::{
    catalog::Catalog,
    config::Settings,
    ledger::{Ledger, embedded::StoreError},
    shutdown::Tasks,
};

/// For Redis to answer at start.
const AT_START: Duration = Duration::from_millis(500);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(250);

/// Whether the ledger holds members; `None`: it has not answered. Not asked where it matters to nobody.
pub async fn look(ledger: &Ledger, settings: &Settings) -> Option<bool> {
    if settings.auth.mode.is_some() {
        return Some(false);
    }
    let asking = async {
        loop {
            match ledger.count_clients().await {
                Ok(count) => return count > 0,
                Err(_) => sleep(PAUSE).await,
            }
        }
    };
    timeout(AT_START, asking).await.ok()
}

/// Asks until there is an answer. Until then nothing metered is admitted anyway.
pub fn look_later(app: &Arc<App>) {
    let this = app.clone();
    app.tasks.spawn_endless(async move {
        let count = loop {
            match this.edge.flow.ledger.count_clients().await {
                Ok(count) => break count,
                Err(_) => sleep(LATER).await,
            }
        };
        if count > 0 {
            this.has_members.store(true, Ordering::Relaxed);
            let was_open = this.is_open();
            this.hang_door(&this.settings.load());
            if was_open && !this.is_open() {
                info!("Members have keys: from now on every caller needs one");
            }
        }
    });
}

/// The ledger of the settings, opened by a command: without a gateway around it.
pub struct Store {
    pub ledger: Ledger,
    tasks: Tasks,
}

/// The data directory belongs to another process.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreInUse(String);

/// For Redis to answer a command.
const FOR_A_COMMAND: Duration = Duration::from_secs(5);

impl Store {
    /// Redis, or the data directory: which only one process has at a time.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let host = host(settings, &tasks, State::AsSet).map_err(|error| {
            let in_use = error.downcast_ref::<StoreError>().filter(|error| matches!(error, StoreError::InUse(_)));
            in_use.map(|error| StoreInUse(error.to_string()).into()).unwrap_or(error)
        })?;
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let ledger = Ledger::without_tasks(host, &rules(settings), catalog, tasks.clone());
        ledger.set_file_clients(settings.clients.records.clone(), Arc::new([]));
        let answers = async {
            while ledger.count_clients().await.is_err() {
                sleep(PAUSE).await;
            }
        };
        if timeout(FOR_A_COMMAND, answers).await.is_err() {
            let words = ledger.count_clients().await.err().map(|error| error.to_string()).unwrap_or_default();
            bail!("the state in REDIS_URL does not answer: {words}");
        }
        Ok(Self { ledger, tasks })
    }

    /// Everything that was changed is kept.
    pub async fn close(self) -> anyhow::Result<()> {
        drop(self.ledger);
        self.tasks.drain(FOR_A_COMMAND).await.then_some(()).context("the store could not be closed in time")
    }
}
