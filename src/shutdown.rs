//! Tracked background tasks, which the process waits for before it ends.

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
    /// Each running task holds a receiver; the drain waits until none is left.
    running: watch::Sender<bool>,
    /// The same for tasks on server threads, whose runtimes end before the main runtime.
    on_server_threads: watch::Sender<()>,
    server_threads_end: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    /// Must be called on the runtime that will run the tasks.
    pub fn new() -> Self {
        Self {
            runtime: Handle::current(),
            running: watch::Sender::new(true),
            on_server_threads: watch::Sender::new(()),
            server_threads_end: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Starts short work that must finish before the process ends, such as a settlement. It runs on the current thread, even
    /// a server thread, because waking another one costs more than most such work.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(here) = Handle::try_current().ok().filter(|here| here.id() != self.runtime.id()) else {
            return self.spawn_aside(work);
        };
        let on_server_thread = self.on_server_threads.subscribe();
        // Either `join_all` sees this receiver, or this task sees that the server threads are ending.
        fence(Ordering::SeqCst);
        if self.server_threads_end.load(Ordering::Relaxed) {
            return self.spawn_aside(work);
        }
        self.spawn_on(&here, work.map(move |()| drop(on_server_thread)));
    }

    /// Starts work on the main runtime that would delay the requests of a server thread, such as a journal batch.
    pub fn spawn_aside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&self.runtime, work);
    }

    fn spawn_on(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let held = self.running.subscribe();
        // An `async` block would store both `work` and the future it awaits: twice the size, moved on each spawn.
        #[expect(clippy::disallowed_methods, reason = "this is the one place that tracks the tasks it starts")]
        runtime.spawn(work.map(move |()| drop(held)));
    }

    /// Starts work without an end, such as a refresher. It is dropped when the drain begins.
    pub fn spawn_endless(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_endless_on(&self.runtime, work);
    }

    /// Like [`Self::spawn_endless`] on another runtime, with which the work ends at the latest.
    pub fn spawn_endless_on(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        let stop = async move {
            // An error means that the sender was dropped, which ends the work too.
            let _ = stop.wait_for(|stopped| *stopped).await;
        };
        self.spawn_on(runtime, select(Box::pin(work), Box::pin(stop)).map(drop));
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits before the server threads end until the tasks on them have finished or `bound` has passed. From now on all
    /// tasks run on the main runtime.
    pub async fn join_all(&self, bound: Duration) {
        self.server_threads_end.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // The drain reports tasks that are still running.
        let _ = tokio::time::timeout(bound, self.on_server_threads.closed()).await;
    }

    /// Ends the endless tasks and waits for the others. False if `bound` passed before all had finished.
    pub async fn drain(&self, bound: Duration) -> bool {
        self.stop.send_replace(true);
        tokio::time::timeout(bound, self.running.closed()).await.is_ok()
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
    async fn the_drain_waits_for_tasks_and_drops_endless_ones() {
        let tasks = Tasks::new();
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        tasks.spawn(async move {
            sleep(2 * SECOND).await;
            flag.store(true, Ordering::Relaxed);
        });
        tasks.spawn_endless(std::future::pending());
        let since = Instant::now();
        assert!(tasks.drain(10 * SECOND).await);
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(since.elapsed().as_secs(), 2);
        assert!(tasks.is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_is_bounded_and_reports_unfinished_tasks() {
        let tasks = Tasks::new();
        tasks.spawn(sleep(100 * SECOND));
        assert!(!tasks.drain(SECOND).await);
    }

    /// The runtime of a server thread, which ends when it is dropped.
    fn server_thread() -> (tokio::runtime::Runtime, tokio::runtime::Handle) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        (runtime, handle)
    }

    /// Starts work from a server thread. Returns the id of the runtime that ran it.
    fn start_from(tasks: &Tasks, from: &Handle, lasting: Duration) -> tokio::sync::oneshot::Receiver<String> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let inner = tasks.clone();
        tasks.spawn_on(from, async move {
            inner.spawn(async move {
                sleep(lasting).await;
                sender.send(Handle::current().id().to_string()).unwrap();
            });
        });
        receiver
    }

    #[tokio::test]
    async fn tasks_of_a_server_thread_finish_before_it_ends() {
        let (tasks, (server, there)) = (Tasks::new(), server_thread());
        let begun = start_from(&tasks, &there, Duration::from_millis(100));
        sleep(Duration::from_millis(20)).await;
        tasks.join_all(SECOND).await;
        server.shutdown_background();
        assert_eq!(begun.await.unwrap(), there.id().to_string());
    }

    #[tokio::test]
    async fn tasks_started_after_join_all_outlive_the_server_thread() {
        let (tasks, (server, there)) = (Tasks::new(), server_thread());
        tasks.join_all(SECOND).await;
        let begun = start_from(&tasks, &there, Duration::from_millis(100));
        sleep(Duration::from_millis(20)).await;
        server.shutdown_background();
        assert!(tasks.drain(SECOND).await);
        assert_eq!(begun.await.unwrap(), Handle::current().id().to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_tasks_started_during_it() {
        let tasks = Tasks::new();
        let (inner, done) = (tasks.clone(), Arc::new(AtomicBool::new(false)));
        let flag = done.clone();
        tasks.spawn(async move {
            sleep(SECOND).await;
            inner.spawn(async move {
                sleep(SECOND).await;
                flag.store(true, Ordering::Relaxed);
            });
        });
        assert!(tasks.drain(10 * SECOND).await);
        assert!(done.load(Ordering::Relaxed));
    }
}
