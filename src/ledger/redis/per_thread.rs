//! A further connection for each busy server thread, beside the line that all share.
//!
//! A thread that drives its own connection wakes no other for a call, nor does another wake it for the answer: half of
//! what a call costs this process. Nothing else changes: a branch leads where the line in use leads, is worth as much,
//! and goes with it; whoever finds one broken gives up the line, for all.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, ConnectionInfo, RedisError, aio::MultiplexedConnection};
use rustc_hash::FxHashMap;
use tokio::{
    runtime::{Handle, Id},
    time::{Instant, timeout},
};

use super::connection::Line;
use crate::shutdown::Tasks;

/// A thread that calls so often gets its own; most never do.
const OFTEN: u32 = 16;
/// Unused for so long, a branch is left: the server or a box on the way may soon close what is silent.
const SILENCE: Duration = Duration::from_secs(5);
/// One attempt.
const CONNECT: Duration = Duration::from_secs(1);

/// One runtime: a server thread's, or the process's own, which drives the shared line.
#[derive(Default)]
struct Seat {
    calls: u32,
    used: Option<Instant>,
    /// The line whose branch is being opened or has been; another line, another branch.
    number: u64,
    branch: Option<MultiplexedConnection>,
}

/// All branches of this process.
pub(super) struct Branches {
    /// Where the shared line is driven.
    root: Id,
    seats: Arc<Mutex<FxHashMap<Id, Seat>>>,
    tasks: Tasks,
}

impl Branches {
    /// Must be called on the runtime that drives the shared line.
    pub fn new(tasks: Tasks) -> Self {
        Self { root: Handle::current().id(), seats: Arc::default(), tasks }
    }

    /// This thread's own branch of `line` where there is one, else the line itself.
    pub fn of(&self, line: Line, node: impl FnOnce() -> Option<ConnectionInfo>) -> Line {
        let Ok(here) = Handle::try_current() else { return line };
        if here.id() == self.root {
            return line;
        }
        let now = Instant::now();
        let mut seats = self.seats.lock();
        let seat = seats.entry(here.id()).or_default();
        if seat.used.replace(now).is_some_and(|used| now - used > SILENCE) {
            *seat = Seat { used: Some(now), ..Seat::default() };
        }
        if seat.number == line.number {
            return match &seat.branch {
                Some(branch) => Line { connection: branch.clone(), ..line },
                None => line,
            };
        }
        seat.calls += 1;
        if seat.calls >= OFTEN
            && let Some(node) = node()
        {
            (seat.number, seat.branch) = (line.number, None);
            self.open(&here, node, line.number);
        }
        line
    }

    /// Where it cannot be had the shared line serves on.
    fn open(&self, here: &Handle, node: ConnectionInfo, number: u64) {
        let (seats, id) = (self.seats.clone(), here.id());
        self.tasks.spawn_endless_on(here, async move {
            if let Ok(Ok(branch)) = timeout(CONNECT, connect(node)).await
                && let Some(seat) = seats.lock().get_mut(&id).filter(|seat| seat.number == number)
            {
                seat.branch = Some(branch);
            }
        });
    }
}

async fn connect(node: ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    redis::Client::open(node)?.get_multiplexed_async_connection_with_config(&config).await
}
