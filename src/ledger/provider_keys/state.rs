//! What a replica knows of the stored provider keys.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{master_keys::MasterKeys, record::StoredKeys};

#[derive(Default)]
pub(in crate::ledger) struct ProviderKeyState {
    pub(super) masters: ArcSwap<MasterKeys>,
    /// As last read.
    pub(super) stored: watch::Sender<Arc<StoredKeys>>,
    /// The version that the last heartbeat, notification or read named.
    announced: watch::Sender<i64>,
    /// The version that the catalogue was last built from. `None`: no catalogue follows the keys.
    pub(super) in_force: watch::Sender<Option<i64>>,
    /// Held while the keys are read, so that an older reply never replaces a newer one.
    pub(super) reading: tokio::sync::Mutex<()>,
}

impl ProviderKeyState {
    /// Takes note of the version that the store has.
    pub(in crate::ledger) fn announce(&self, version: i64) {
        self.announced.send_if_modified(|announced| std::mem::replace(announced, version) != version);
    }

    /// Handles a published notification, if it is one of this kind: `provider_keys VERSION`.
    pub(in crate::ledger) fn notify(&self, message: &str) {
        if let Some(version) = message.strip_prefix("provider_keys ").and_then(|version| version.parse().ok()) {
            self.announce(version);
        }
    }

    pub(super) fn announcements(&self) -> watch::Receiver<i64> {
        self.announced.subscribe()
    }
}
