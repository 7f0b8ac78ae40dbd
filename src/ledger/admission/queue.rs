//! The wait queue as one request sees it: its ticket, and the wait for its turn.
//!
//! The scripts decide the order (`lua/lib/wait_queue.lua`). A ticket is due at the instant that the script returned, and goes into one call
//! with others of its replica (`queue_calls`); earlier when it is notified; a lost notification costs time and nothing else.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    queue_calls,
    subject::TICKET_TIMEOUT_MS,
    waiters::{Replied, Turn, Waiting},
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

const HEARTBEAT: Duration = Duration::from_secs(1);
/// Tickets in one heartbeat, which bounds its time.
const HEARTBEAT_TICKETS: usize = 200;

/// One request's place in the wait queue. If it is dropped before it is closed, the request leaves the queue.
pub(super) struct QueueTicket {
    shared: Arc<Shared>,
    pub request: Arc<Waiting>,
    turn: Option<oneshot::Receiver<Turn>>,
    /// The script has removed the ticket.
    is_closed: bool,
    waiting: QueueWait,
}

impl QueueTicket {
    pub(super) fn new(shared: &Arc<Shared>, request: Waiting) -> Self {
        let request = Arc::new(request);
        Self { shared: shared.clone(), request, turn: None, is_closed: false, waiting: QueueWait::begin() }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.request.id
    }

    /// Waits for the reply of a call for the ticket, which is due in `ms`. `None`: the request is to ask by itself.
    pub(super) async fn turn(&mut self, ms: i64) -> Option<Replied> {
        let due = Instant::now() + Duration::from_millis(u64::try_from(ms.max(1)).unwrap_or(1));
        let now_ms = self.shared.epoch().pool_now_ms();
        // In the ticket, so that a drop finds a reply that was not read.
        let turn = self.turn.insert(self.shared.waiters.wait(&self.request, due, now_ms));
        let turn = turn.await;
        self.turn = None;
        match turn {
            Ok(Turn::Replied(replied)) => Some(replied),
            Ok(Turn::Woken) | Err(_) => None,
        }
    }

    /// Forgets the ticket of a request, which asks for another one at its place.
    pub(super) fn give_up(ticket: &mut Option<Self>, place: &mut String) {
        if let Some(ticket) = ticket.take() {
            ticket.request.place.lock().clone_into(place);
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
        let is_asking = self.shared.waiters.remove(self.id());
        let unread = self.turn.take().and_then(|mut turn| turn.try_recv().ok());
        if is_asking || matches!(unread, Some(Turn::Replied(_))) {
            // It may have been granted, or will be.
            self.shared.pending.push(self.request.subject().cancellation(self.id().to_string()));
        }
        if !self.is_closed {
            let (shared, id) = (self.shared.clone(), self.id().clone());
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
        for tickets in self.waiters.tickets().chunks(HEARTBEAT_TICKETS) {
            let mut args = vec![encode::number(TICKET_TIMEOUT_MS)];
            args.extend(tickets.iter().map(|id| encode::text(id)));
            let Ok(Reply::List(known)) = self.run(&self.queue_call(Script::QueueHeartbeat, args)).await else { return };
            for (ticket, is_known) in tickets.iter().zip(known) {
                if is_known == Reply::Int(0) {
                    self.waiters.wake(ticket);
                }
            }
        }
    }
}

/// Receives notifications, asks for tickets that are due, and sends the heartbeat of this replica's tickets.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    let [channel, ..] = shared.keys.queue();
    let weak = Arc::downgrade(&shared);
    let on_message = move |message: &str| {
        if let Some(shared) = weak.upgrade() {
            let now_ms = shared.epoch().pool_now_ms();
            shared.waiters.notify(message, &shared.replica, now_ms);
            shared.provider_keys.notify(message);
        }
    };
    shared.engine.subscribe(&channel, Arc::new(on_message));
    shared.tasks.spawn_endless(queue_calls::run(shared.clone()));
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            shared.queue_heartbeat().await;
            shared.waiters.recheck();
        }
    });
}
