//! Tracked tasks and the drain: nothing we started is forgotten when the process ends.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, sync::watch};

/// The only way to start a background task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    /// Every running task holds a receiver; the drain waits until none is left.
    alive: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    /// Must be called on the runtime that shall run the tasks.
    pub fn new() -> Self {
        Self { runtime: Handle::current(), alive: watch::Sender::new(true), stop: watch::Sender::new(false) }
    }

    /// Short work that must be finished before the process ends: a settle, a journal batch.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let held = self.alive.subscribe();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that tracks what it starts")]
        self.runtime.spawn(async move {
            work.await;
            drop(held);
        });
    }

    /// Work without an end (a refresher): dropped as soon as the drain begins.
    pub fn spawn_endless(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        self.spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        });
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
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
