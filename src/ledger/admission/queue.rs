//! Waiting in line: this replica's callers there, how they are woken, and that they are still there.
//!
//! Who goes first is decided by the scripts (`lua/lib/wait_queue.lua`). A waiter asks at the instant it was told, or at a
//! knock; a knock that is lost costs it time and nothing else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::ledger::{
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};
use crate::telemetry::QueueWait;

/// A waiter whose replica has not spoken for so long is dropped with its place. ms.
pub(crate) const ALIVE_MS: i64 = 3_000;
/// How often a replica says that its waiters are there.
const RENEWAL: Duration = Duration::from_secs(1);

/// Who waits here, by ticket; each is woken with the instant it may ask at, ms of the ledger's clock.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    here: Mutex<HashMap<Arc<str>, watch::Sender<i64>>>,
}

impl Waiters {
    /// A knock as it was published: `ticket instant`.
    fn knock(&self, message: &str) {
        if let Some((id, at)) = message.split_once(' ')
            && let Ok(at) = at.parse()
            && let Some(waiter) = self.here.lock().get(id)
        {
            waiter.send_replace(at);
        }
    }

    fn tickets(&self) -> Vec<Arc<str>> {
        self.here.lock().keys().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.here.lock().len()
    }
}

/// One caller's place in line. Dropped before it was let go it is given back.
pub(crate) struct Place {
    shared: Arc<Shared>,
    pub id: Arc<str>,
    woken: watch::Receiver<i64>,
    /// The script has taken the ticket out.
    is_over: bool,
    told: QueueWait,
}

impl Place {
    pub fn take(shared: &Arc<Shared>, id: &str) -> Self {
        let id: Arc<str> = id.into();
        let (sender, woken) = watch::channel(i64::MAX);
        shared.waiters.here.lock().insert(id.clone(), sender);
        Self { shared: shared.clone(), id, woken, is_over: false, told: QueueWait::begin() }
    }

    /// Sleeps for `ms`, at most until `last`; a knock may bring its instant forward.
    pub async fn sleep(&mut self, ms: i64, last: Instant) {
        let after = |ms: i64| Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let mut until = after(ms.max(1)).min(last);
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                changed = self.woken.changed() => {
                    if changed.is_err() {
                        return sleep_until(until).await;
                    }
                    let at = *self.woken.borrow_and_update();
                    let now = self.shared.known().now_ms();
                    until = until.min(after(at.saturating_sub(now).max(0)));
                }
            }
        }
    }

    /// It was let go, or refused for good.
    pub fn is_over(&mut self, has_room: bool) {
        self.is_over = true;
        self.told.finish(has_room);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.waiters.here.lock().remove(&self.id);
        if !self.is_over {
            let (shared, id) = (self.shared.clone(), self.id.clone());
            self.shared.tasks.spawn(async move {
                // In an outage it dies of silence instead.
                let _ =
                    shared.run(&shared.room_call(Script::QueueLeave, [Bytes::copy_from_slice(id.as_bytes())])).await;
            });
        }
    }
}

impl Shared {
    fn room_call(&self, script: Script, args: impl IntoIterator<Item = Bytes>) -> ScriptCall {
        let keys = [self.keys.meta()].into_iter().chain(self.keys.waiting_room()).collect();
        ScriptCall { script, keys, args: args.into_iter().collect() }
    }

    /// Says that this replica's waiters are there; whom the room does not know any more is woken to ask anew.
    async fn stay(&self) {
        let tickets = self.waiters.tickets();
        if tickets.is_empty() {
            return;
        }
        let ids = tickets.iter().map(|id| Bytes::copy_from_slice(id.as_bytes()));
        let call = self.room_call(Script::QueueHeartbeat, [Bytes::from(ALIVE_MS.to_string())].into_iter().chain(ids));
        if let Ok(Reply::List(there)) = self.run(&call).await {
            for (id, is_there) in tickets.iter().zip(there) {
                if is_there == Reply::Int(0)
                    && let Some(waiter) = self.waiters.here.lock().get(id)
                {
                    waiter.send_replace(0);
                }
            }
        }
    }
}

/// Hears knocks, and renews this replica's tickets once a second.
pub(crate) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    let [channel, ..] = shared.keys.waiting_room();
    let waiters = Arc::downgrade(&shared);
    shared.host.subscribe(
        &channel,
        Arc::new(move |message| {
            if let Some(shared) = waiters.upgrade() {
                shared.waiters.knock(message);
            }
        }),
    );
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(RENEWAL).await;
            shared.stay().await;
        }
    });
}
