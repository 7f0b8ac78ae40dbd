//! Tracked tasks and the drain: nothing we started is forgotten when the process ends.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::select};
use tokio::{runtime::Handle, sync::watch};

/// The only way to start a background task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    /// Every running task holds a receiver; the drain waits until none is left.
    alive: watch::Sender<bool>,
    /// The same for those on runtimes other than ours, which may end before us.
    out: watch::Sender<()>,
    gathering: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    /// Must be called on the runtime that shall run the tasks.
    pub fn new() -> Self {
        Self {
            runtime: Handle::current(),
            alive: watch::Sender::new(true),
            out: watch::Sender::new(()),
            gathering: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Short work that must be finished before the process ends: a settle. Runs where it is begun, on a server's thread
    /// too, since to wake another would cost more than most such work.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(here) = Handle::try_current().ok().filter(|here| here.id() != self.runtime.id()) else {
            return self.spawn_aside(work);
        };
        let out = self.out.subscribe();
        // Whoever gathers either sees this receiver or is seen by us.
        fence(Ordering::SeqCst);
        if self.gathering.load(Ordering::Relaxed) {
            return self.spawn_aside(work);
        }
        self.spawn_on(&here, work.map(move |()| drop(out)));
    }

    /// The same for work that would keep a server's thread from its callers: a journal batch.
    pub fn spawn_aside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&self.runtime, work);
    }

    fn spawn_on(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let held = self.alive.subscribe();
        // Not an `async` block, which keeps what it captures beside what it awaits: twice the size, moved with every spawn.
        #[expect(clippy::disallowed_methods, reason = "this is the one place that tracks what it starts")]
        runtime.spawn(work.map(move |()| drop(held)));
    }

    /// Work without an end (a refresher): dropped as soon as the drain begins.
    pub fn spawn_endless(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_endless_on(&self.runtime, work);
    }

    /// The same on another runtime, with which it ends at the latest.
    pub fn spawn_endless_on(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        let stop = async move {
            // An error is a sender that is gone: as good as a stop.
            let _ = stop.wait_for(|stopped| *stopped).await;
        };
        self.spawn_on(runtime, select(Box::pin(work), Box::pin(stop)).map(drop));
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Before the server's threads end: what they have begun is finished, or `bound` has passed, and from now on
    /// everything runs on the runtime that outlives them.
    pub async fn gather(&self, bound: Duration) {
        self.gathering.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // What is late is late for the drain too, which tells it.
        let _ = tokio::time::timeout(bound, self.out.closed()).await;
    }

    /// Ends the endless tasks, waits for the rest; false when `bound` passed before all were done.
    pub async fn drain(&self, bound: Duration) -> bool {
        self.stop.send_replace(true);
        tokio::time::timeout(bound, self.alive.closed()).await.is_ok()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::time::{Instant, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_work_and_drops_what_has_no_end() {
        let tasks = Tasks::new();
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        tasks.spawn(async move {
            sleep(2 * SECOND).await;
            told.store(true, Ordering::Relaxed);
        });
        tasks.spawn_endless(std::future::pending());
        let since = Instant::now();
        assert!(tasks.drain(10 * SECOND).await);
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(since.elapsed().as_secs(), 2);
        assert!(tasks.is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_is_bounded_and_says_so() {
        let tasks = Tasks::new();
        tasks.spawn(sleep(100 * SECOND));
        assert!(!tasks.drain(SECOND).await);
    }

    /// A server's thread, which ends with the runtime that is returned.
    fn other() -> (tokio::runtime::Runtime, tokio::runtime::Handle) {
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = other.handle().clone();
        (other, handle)
    }

    /// Begins work as a server's thread would; tells the runtime that it ran on.
    fn begin(tasks: &Tasks, from: &Handle, lasting: Duration) -> tokio::sync::oneshot::Receiver<String> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let inner = tasks.clone();
        tasks.spawn_on(from, async move {
            inner.spawn(async move {
                sleep(lasting).await;
                tell.send(Handle::current().id().to_string()).unwrap();
            });
        });
        told
    }

    #[tokio::test]
    async fn what_a_servers_thread_begins_it_finishes_before_it_ends() {
        let (tasks, (server, there)) = (Tasks::new(), other());
        let begun = begin(&tasks, &there, Duration::from_millis(100));
        sleep(Duration::from_millis(20)).await;
        tasks.gather(SECOND).await;
        server.shutdown_background();
        assert_eq!(begun.await.unwrap(), there.id().to_string());
    }

    #[tokio::test]
    async fn what_a_servers_thread_begins_later_outlives_it() {
        let (tasks, (server, there)) = (Tasks::new(), other());
        tasks.gather(SECOND).await;
        let begun = begin(&tasks, &there, Duration::from_millis(100));
        sleep(Duration::from_millis(20)).await;
        server.shutdown_background();
        assert!(tasks.drain(SECOND).await);
        assert_eq!(begun.await.unwrap(), Handle::current().id().to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn work_started_while_draining_is_waited_for_too() {
        let tasks = Tasks::new();
        let (inner, done) = (tasks.clone(), Arc::new(AtomicBool::new(false)));
        let told = done.clone();
        tasks.spawn(async move {
            sleep(SECOND).await;
            inner.spawn(async move {
                sleep(SECOND).await;
                told.store(true, Ordering::Relaxed);
            });
        });
        assert!(tasks.drain(10 * SECOND).await);
        assert!(done.load(Ordering::Relaxed));
    }
}
