//! Events on their way into the pool's journal: in batches, off the callers' path.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tracing::{debug, warn};

use super::{Event, metrics};
use crate::shutdown::Tasks;

/// How long an event may wait for others to share its trip.
const BATCH: Duration = Duration::from_millis(100);
/// After a batch that could not be written.
const AGAIN: Duration = Duration::from_secs(1);
const BATCH_MOST: usize = 256;
/// Kept while the ledger is away; beyond it the oldest are dropped.
const KEPT_MOST: usize = 4_096;

/// Writes one batch, oldest first; the error is for the log.
pub type Write = dyn Fn(Vec<Event>) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Cheap to clone. A writing task lives only while there is something to write, so the drain waits for just that.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    write: Box<Write>,
    tasks: Tasks,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    dropped: u64,
    is_writing: bool,
}

impl Journal {
    pub fn new(
        tasks: Tasks,
        write: impl Fn(Vec<Event>) -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    ) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), write: Box::new(write), tasks }) }
    }

    /// Never blocks, never fails: where too much is waiting the oldest is lost, and counted.
    pub fn tell(&self, event: Event) {
        let mut queue = self.shared.lock();
        if queue.events.len() >= KEPT_MOST {
            queue.events.pop_front();
            queue.dropped += 1;
        }
        queue.events.push_back(event);
        if !queue.is_writing {
            queue.is_writing = true;
            self.shared.tasks.spawn(Arc::clone(&self.shared).write_all());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing is left, or until the process ends and the ledger is away.
    async fn write_all(self: Arc<Self>) {
        tokio::time::sleep(BATCH).await;
        while let Some(batch) = self.take() {
            let count = batch.len();
            let Err(error) = (self.write)(batch.clone()).await else {
                tokio::time::sleep(BATCH).await;
                continue;
            };
            if self.tasks.is_stopping() {
                warn!(journal.lost = count, "Lost {count} journal lines at shutdown: {error}");
                continue;
            }
            // No warning: whoever failed has told it, and nothing is lost yet.
            debug!(journal.kept = count, "Keeping {count} journal lines: {error}");
            self.put_back(batch);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The next batch; `None` ends the writer under the same lock that a new event starts one.
    fn take(&self) -> Option<Vec<Event>> {
        let mut queue = self.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            metrics::journal_dropped(dropped);
            warn!(
                journal.dropped = dropped,
                "Dropped the {dropped} oldest journal lines: more came than could be written"
            );
        }
        let count = queue.events.len().min(BATCH_MOST);
        queue.is_writing = count > 0;
        queue.is_writing.then(|| queue.events.drain(..count).collect())
    }

    fn put_back(&self, batch: Vec<Event>) {
        let mut queue = self.lock();
        for event in batch.into_iter().rev() {
            if queue.events.len() >= KEPT_MOST {
                queue.dropped += 1;
            } else {
                queue.events.push_front(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::*;

    fn event(request_id: usize) -> Event {
        Event {
            time: Timestamp::UNIX_EPOCH,
            request_id: request_id.to_string(),
            client: "anon:127.0.0.1".to_owned(),
            asked: "free".to_owned(),
            candidate: String::new(),
            attempts: String::new(),
            status: 200,
            stream: false,
            waited: Duration::ZERO,
            first_content: None,
            duration: Duration::ZERO,
            tokens_in: None,
            tokens_out: None,
        }
    }

    type Batches = Arc<Mutex<Vec<Vec<usize>>>>;

    /// A journal, the ids of each batch that it wrote, and a switch that makes writing fail.
    fn journal(tasks: &Tasks) -> (Journal, Batches, Arc<AtomicBool>) {
        let (written, away) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, is_away) = (written.clone(), away.clone());
        let journal = Journal::new(tasks.clone(), move |events| {
            let ids = events.iter().map(|e| e.request_id.parse().unwrap()).collect();
            let result = if is_away.load(Ordering::Relaxed) {
                Err("away".to_owned())
            } else {
                to.lock().unwrap().push(ids);
                Ok(())
            };
            async move { result }.boxed()
        });
        (journal, written, away)
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_tenth_of_a_second_is_written_together() {
        let (journal, written, _) = journal(&Tasks::new());
        for id in 0..3 {
            journal.tell(event(id));
        }
        tokio::time::sleep(BATCH * 2).await;
        journal.tell(event(3));
        tokio::time::sleep(BATCH * 2).await;
        assert_eq!(*written.lock().unwrap(), [vec![0, 1, 2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_what_was_told() {
        let tasks = Tasks::new();
        let (journal, written, _) = journal(&tasks);
        journal.tell(event(0));
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert_eq!(*written.lock().unwrap(), [[0]]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_delays_and_loses_the_oldest_only_when_too_many() {
        let (journal, written, away) = journal(&Tasks::new());
        away.store(true, Ordering::Relaxed);
        for id in 0..KEPT_MOST + 10 {
            journal.tell(event(id));
        }
        tokio::time::sleep(AGAIN * 3).await;
        away.store(false, Ordering::Relaxed);
        tokio::time::sleep(AGAIN * 10).await;
        let all: Vec<usize> = written.lock().unwrap().concat();
        assert_eq!(all, (10..KEPT_MOST + 10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_does_not_wait_for_a_ledger_that_is_away() {
        let tasks = Tasks::new();
        let (journal, written, away) = journal(&tasks);
        away.store(true, Ordering::Relaxed);
        journal.tell(event(0));
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert!(written.lock().unwrap().is_empty());
    }
}
