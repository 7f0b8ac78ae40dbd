//! Connects the poller of this replica, which publishes the pool's events, with the open event streams.

use actix_web::web::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use crate::ledger::RecordId;

/// Events a slow listener may leave unread before it has to read the journal instead.
const BACKLOG: usize = 1_024;

/// One server-sent event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The journal id of a request, which clients send back as `Last-Event-ID`. A budget has none.
    pub id: Option<RecordId>,
    pub text: Bytes,
}

impl Event {
    pub(crate) fn new(id: Option<RecordId>, name: &str, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).unwrap_or_default();
        let id_line = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        Self { id, text: Bytes::from(format!("{id_line}event: {name}\ndata: {data}\n\n")) }
    }
}

pub(crate) struct EventHub {
    live: Mutex<Live>,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Live {
    /// Present while a poller runs.
    sender: Option<broadcast::Sender<Event>>,
    /// The last budget published: a new listener starts with it.
    budget: Option<Event>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self { live: Mutex::default(), ended: watch::Sender::new(false) }
    }
}

impl EventHub {
    /// Ends every stream when the process drains, so that clients reconnect to another replica.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Turns true when the streams have to end.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Subscribes, and returns the last budget published. Where no poller runs, `start_poller` starts one.
    pub(crate) fn subscribe(
        &self,
        start_poller: impl FnOnce(broadcast::Sender<Event>),
    ) -> (broadcast::Receiver<Event>, Option<Event>) {
        let mut live = self.live.lock();
        if let Some(sender) = &live.sender {
            return (sender.subscribe(), live.budget.clone());
        }
        let (sender, receiver) = broadcast::channel(BACKLOG);
        *live = Live { sender: Some(sender.clone()), budget: None };
        start_poller(sender);
        (receiver, None)
    }

    pub(crate) fn set_budget(&self, event: Event) {
        self.live.lock().budget = Some(event);
    }

    /// Whether no listener is left and the poller has to stop. The next subscriber starts another one.
    pub(crate) fn stops_unused(&self, sender: &broadcast::Sender<Event>) -> bool {
        let mut live = self.live.lock();
        let unused = sender.receiver_count() == 0;
        if unused {
            *live = Live::default();
        }
        unused
    }
}
