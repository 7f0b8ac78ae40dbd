//! Dedicated connections for busy server threads, in addition to the shared one.
//!
//! A thread that drives its own connection wakes no other thread for a call and is woken by none for the reply, which
//! halves the cost of a call for this process. A dedicated connection leads to the node of the shared connection and
//! ends with it: a call that fails on one reports the shared connection as broken.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::{
    runtime::{Handle, Id},
    time::{Instant, timeout},
};

use super::connection::{self, Connection, Link};
use crate::shutdown::Tasks;

/// A thread gets a dedicated connection after this many calls. Most threads never reach it.
const DEDICATE_AFTER: u32 = 16;
/// Replace a dedicated connection after this idle time, before the server or a middlebox closes it.
const IDLE_CLOSE: Duration = Duration::from_secs(5);
/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The calls and the connection of one server thread.
#[derive(Default)]
struct ThreadSlot {
    calls: u32,
    last_call: Option<Instant>,
    /// Generation of the shared connection for which `dedicated` was opened or is being opened.
    generation: u64,
    dedicated: Option<Link>,
}

/// The dedicated connections of this process, by the runtime of their thread.
pub(super) struct ThreadConnections {
    /// The runtime that drives the shared connection.
    shared_runtime: Id,
    slots: Arc<Mutex<FxHashMap<Id, ThreadSlot>>>,
    tasks: Tasks,
}

impl ThreadConnections {
    /// Must be called on the runtime that drives the shared connection.
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { shared_runtime: Handle::current().id(), slots: Arc::default(), tasks }
    }

    /// This thread's dedicated connection beside `shared`, or `shared` itself if there is none.
    pub(crate) fn dedicated_or(&self, shared: Connection) -> Connection {
        let Ok(runtime) = Handle::try_current() else { return shared };
        if runtime.id() == self.shared_runtime {
            return shared;
        }
        let now = Instant::now();
        let mut slots = self.slots.lock();
        let slot = slots.entry(runtime.id()).or_default();
        if slot.last_call.replace(now).is_some_and(|last| now - last > IDLE_CLOSE) {
            *slot = ThreadSlot { last_call: Some(now), ..ThreadSlot::default() };
        }
        if slot.generation == shared.generation {
            return match &slot.dedicated {
                Some(dedicated) => Connection { link: dedicated.clone(), ..shared },
                None => shared,
            };
        }
        slot.calls += 1;
        if slot.calls >= DEDICATE_AFTER {
            (slot.generation, slot.dedicated) = (shared.generation, None);
            self.open(&runtime, &shared);
        }
        shared
    }

    /// Opens a dedicated connection in the background. If that fails, the thread keeps using the shared one.
    fn open(&self, runtime: &Handle, shared: &Connection) {
        let (slots, id, info, generation) =
            (self.slots.clone(), runtime.id(), shared.node.info.clone(), shared.generation);
        self.tasks.spawn_endless_on(runtime, async move {
            if let Ok(Ok(dedicated)) = timeout(CONNECT_TIMEOUT, connection::open(info)).await
                && let Some(slot) = slots.lock().get_mut(&id).filter(|slot| slot.generation == generation)
            {
                slot.dedicated = Some(Link::new(dedicated));
            }
        });
    }
}
