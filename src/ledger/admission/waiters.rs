//! The requests of this replica that wait in the queue, by ticket.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Wakes each waiter with the instant at which it may try again, in ms of the ledger's clock.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<Arc<str>, watch::Sender<i64>>>);

impl Waiters {
    pub(super) fn add(&self, ticket: Arc<str>) -> watch::Receiver<i64> {
        let (sender, wake) = watch::channel(i64::MAX);
        self.0.lock().insert(ticket, sender);
        wake
    }

    pub(super) fn remove(&self, ticket: &str) {
        self.0.lock().remove(ticket);
    }

    pub(super) fn wake(&self, ticket: &str, at_ms: i64) {
        if let Some(waiter) = self.0.lock().get(ticket) {
            waiter.send_replace(at_ms);
        }
    }

    /// Wakes all: each calls `admit` again.
    pub(in crate::ledger) fn wake_all(&self) {
        for waiter in self.0.lock().values() {
            waiter.send_replace(0);
        }
    }

    /// Handles a published notification: `ticket instant`.
    pub(super) fn notify(&self, message: &str) {
        if let Some((ticket, at_ms)) = message.split_once(' ')
            && let Ok(at_ms) = at_ms.parse()
        {
            self.wake(ticket, at_ms);
        }
    }

    pub(super) fn tickets(&self) -> Vec<Arc<str>> {
        self.0.lock().keys().cloned().collect()
    }
}
