//! The wait queue as one replica sees it: its tickets, how they are woken, and their heartbeat.
//!
//! The scripts decide the order (`lua/lib/wait_queue.lua`). A waiter tries again at the instant that the script returned, or earlier when
//! it is notified; a lost notification costs time and nothing else.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    ledger::{
        script::{
            encode,
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::{Ledger, Shared},
    },
    telemetry::QueueWait,
};

/// A ticket without a heartbeat for this time is dropped from the queue.
pub(super) const TICKET_TIMEOUT_MS: i64 = 3_000;
const HEARTBEAT: Duration = Duration::from_secs(1);

/// One request's place in the wait queue. If it is dropped before it is closed, the request leaves the queue.
pub(super) struct QueueTicket {
    shared: Arc<Shared>,
    pub id: Arc<str>,
    wake: watch::Receiver<i64>,
    /// The script has removed the ticket.
    is_closed: bool,
    waiting: QueueWait,
}

impl QueueTicket {
    pub(super) fn new(shared: &Arc<Shared>, id: Arc<str>) -> Self {
        let wake = shared.waiters.add(id.clone());
        Self { shared: shared.clone(), id, wake, is_closed: false, waiting: QueueWait::begin() }
    }

    /// Sleeps for `ms`, at most until `deadline`. A notification may bring the end forward.
    pub(super) async fn sleep(&mut self, ms: i64, deadline: Instant) {
        let after = |ms: i64| Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let mut until = after(ms.max(1)).min(deadline);
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                changed = self.wake.changed() => {
                    if changed.is_err() {
                        return sleep_until(until).await;
                    }
                    let at_ms = *self.wake.borrow_and_update();
                    let now_ms = self.shared.epoch().pool_now_ms();
                    until = until.min(after(at_ms.saturating_sub(now_ms).max(0)));
                }
            }
        }
    }

    /// The request was admitted, or refused for good.
    pub(super) fn close(&mut self, is_granted: bool) {
        self.is_closed = true;
        self.waiting.finish(is_granted);
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        self.shared.waiters.remove(&self.id);
        if !self.is_closed {
            let (shared, id) = (self.shared.clone(), self.id.clone());
            self.shared.tasks.spawn(async move {
                // During an outage the ticket expires instead.
                let _ = shared.run(&shared.queue_call(Script::QueueLeave, vec![encode::text(&id)])).await;
            });
        }
    }
}

impl Shared {
    fn queue_call(&self, script: Script, args: Vec<Bytes>) -> ScriptCall {
        ScriptCall { script, keys: [self.keys.meta()].into_iter().chain(self.keys.queue()).collect(), args }
    }

    /// Sends the heartbeat of this replica's tickets, and wakes those that the queue no longer has: they enqueue again.
    async fn queue_heartbeat(&self) {
        let tickets = self.waiters.tickets();
        if tickets.is_empty() {
            return;
        }
        let mut args = vec![encode::number(TICKET_TIMEOUT_MS)];
        args.extend(tickets.iter().map(|id| encode::text(id)));
        if let Ok(Reply::List(known)) = self.run(&self.queue_call(Script::QueueHeartbeat, args)).await {
            for (ticket, is_known) in tickets.iter().zip(known) {
                if is_known == Reply::Int(0) {
                    self.waiters.wake(ticket, 0);
                }
            }
        }
    }
}

/// Receives notifications, and sends the heartbeat of this replica's tickets.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    let [channel, ..] = shared.keys.queue();
    let weak = Arc::downgrade(&shared);
    let on_message = move |message: &str| {
        if let Some(shared) = weak.upgrade() {
            shared.waiters.notify(message);
            shared.provider_keys.notify(message);
        }
    };
    shared.engine.subscribe(&channel, Arc::new(on_message));
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            shared.queue_heartbeat().await;
        }
    });
}
