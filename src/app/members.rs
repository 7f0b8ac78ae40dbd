//! Members' keys in the ledger close a door of which nobody said that it is open.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::info;

use super::App;
use crate::{config::Settings, ledger::Ledger};

/// For Redis to answer at start.
const AT_START: Duration = Duration::from_millis(500);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(250);

/// Whether the ledger holds members; `None`: it has not answered. Not asked where it matters to nobody.
pub async fn look(ledger: &Ledger, settings: &Settings) -> Option<bool> {
    if settings.auth.is_some() {
        return Some(false);
    }
    let asking = async {
        loop {
            match ledger.count_members().await {
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
            match this.edge.flow.ledger.count_members().await {
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
