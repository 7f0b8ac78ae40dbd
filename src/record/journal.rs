//! Queue of journal records, written to the ledger in batches and off the request's path.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tracing::{debug, warn};

use super::metrics;
use crate::shutdown::Tasks;

/// Time in which records collect into one batch.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// The same while more records are queued than one batch takes.
const BATCH_DELAY_BUSY: Duration = Duration::from_millis(10);
/// Delay before a batch that was not written is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Records of one batch, which take the ledger about a millisecond.
const MAX_BATCH: usize = 128;
/// Records kept while the ledger is unreachable. Beyond this the oldest are dropped.
const MAX_QUEUED: usize = 4_096;

/// Why a batch was not written, or may not have been. The text is for the log.
#[derive(Debug, Clone)]
pub(crate) enum WriteError {
    /// The ledger is unreachable: the same batch is tried again under the same number.
    Unavailable(String),
    /// Another try would fail, too.
    Rejected(String),
}

/// Writes one batch, oldest record first. Batch numbers count up from 1; a retry keeps its number.
pub(crate) type Write<R> = dyn Fn(u64, Arc<[R]>) -> BoxFuture<'static, Result<(), WriteError>> + Send + Sync;

/// Cheap to clone. The writing task lives only while records are queued, so a drain waits for exactly those.
pub(crate) struct Journal<R> {
    shared: Arc<Shared<R>>,
}

impl<R> Clone for Journal<R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<R> {
    queue: Mutex<Queue<R>>,
    write: Box<Write<R>>,
    tasks: Tasks,
}

struct Queue<R> {
    records: VecDeque<R>,
    /// Records dropped since the last warning.
    dropped: u64,
    /// Number of the last batch.
    number: u64,
    is_writing: bool,
}

impl<R: Send + Sync + 'static> Journal<R> {
    pub(crate) fn new(
        tasks: Tasks,
        write: impl Fn(u64, Arc<[R]>) -> BoxFuture<'static, Result<(), WriteError>> + Send + Sync + 'static,
    ) -> Self {
        let queue = Queue { records: VecDeque::new(), dropped: 0, number: 0, is_writing: false };
        Self { shared: Arc::new(Shared { queue: Mutex::new(queue), write: Box::new(write), tasks }) }
    }

    /// Queues a record without blocking. Where the queue is full, the oldest record is dropped and counted.
    pub(crate) fn push(&self, record: R) {
        let mut queue = self.shared.queue.lock();
        if queue.records.len() >= MAX_QUEUED {
            queue.records.pop_front();
            queue.dropped += 1;
        }
        queue.records.push_back(record);
        if !queue.is_writing {
            queue.is_writing = true;
            self.shared.tasks.spawn_aside(Arc::clone(&self.shared).write_all());
        }
    }
}

impl<R: Send + Sync + 'static> Shared<R> {
    /// Writes until the queue is empty, or until the process stops while the ledger is unreachable.
    async fn write_all(self: Arc<Self>) {
        tokio::time::sleep(BATCH_DELAY).await;
        while let Some((number, batch)) = self.take() {
            let is_full = batch.len() == MAX_BATCH;
            self.write_one(number, batch).await;
            tokio::time::sleep(if is_full { BATCH_DELAY_BUSY } else { BATCH_DELAY }).await;
        }
    }

    /// Writes one batch, repeating the identical batch on failure: only the ledger knows whether a lost reply was a success.
    async fn write_one(&self, number: u64, batch: Arc<[R]>) {
        let count = batch.len();
        loop {
            let error = match (self.write)(number, batch.clone()).await {
                Ok(()) => return,
                // No warning: the ledger has logged its outage, and no record is lost yet.
                Err(WriteError::Unavailable(error)) if !self.tasks.is_stopping() => {
                    debug!(journal.kept = count, "Keeping {count} journal records: {error}");
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
                Err(WriteError::Unavailable(error) | WriteError::Rejected(error)) => error,
            };
            metrics::journal_dropped(count as u64);
            warn!(journal.lost = count, "Lost {count} journal records: {error}");
            return;
        }
    }

    /// The next batch and its number. `None` ends the writer, under the same lock under which a new record starts one.
    fn take(&self) -> Option<(u64, Arc<[R]>)> {
        let mut queue = self.queue.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            metrics::journal_dropped(dropped);
            warn!(journal.dropped = dropped, "Dropped the {dropped} oldest journal records: the queue was full");
        }
        let count = queue.records.len().min(MAX_BATCH);
        queue.is_writing = count > 0;
        if count == 0 {
            return None;
        }
        queue.number += 1;
        Some((queue.number, queue.records.drain(..count).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use futures_util::FutureExt;

    /// A ledger that can be unreachable or lose its reply, and that writes no batch twice.
    #[derive(Default)]
    struct FakeLedger {
        unreachable: AtomicBool,
        loses_reply: AtomicBool,
        rejects: AtomicBool,
        last: AtomicU64,
        batches: Mutex<Vec<Vec<usize>>>,
    }

    fn journal(tasks: &Tasks) -> (Journal<usize>, Arc<FakeLedger>) {
        let ledger = Arc::new(FakeLedger::default());
        let at = ledger.clone();
        let journal = Journal::new(tasks.clone(), move |number, records| {
            let result = at.write(number, &records);
            async move { result }.boxed()
        });
        (journal, ledger)
    }

    impl FakeLedger {
        fn write(&self, number: u64, records: &[usize]) -> Result<(), WriteError> {
            if self.rejects.load(Ordering::Relaxed) {
                return Err(WriteError::Rejected("rejects".to_owned()));
            }
            let unreachable = Err(WriteError::Unavailable("unreachable".to_owned()));
            if self.unreachable.load(Ordering::Relaxed) {
                return unreachable;
            }
            if number > self.last.swap(number, Ordering::Relaxed) {
                self.batches.lock().push(records.to_vec());
            }
            if self.loses_reply.swap(false, Ordering::Relaxed) { unreachable } else { Ok(()) }
        }

        fn batches(&self) -> Vec<Vec<usize>> {
            self.batches.lock().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_of_a_tenth_of_a_second_are_written_together() {
        let (journal, ledger) = journal(&Tasks::new());
        for id in 0..3 {
            journal.push(id);
        }
        tokio::time::sleep(BATCH_DELAY * 2).await;
        journal.push(3);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        assert_eq!(ledger.batches(), [vec![0, 1, 2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_queued_records() {
        let tasks = Tasks::new();
        let (journal, ledger) = journal(&tasks);
        journal.push(0);
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert_eq!(ledger.batches(), [[0]]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_drops_the_oldest_records_only_when_the_queue_is_full() {
        let (journal, ledger) = journal(&Tasks::new());
        ledger.unreachable.store(true, Ordering::Relaxed);
        for id in 0..MAX_QUEUED + 10 {
            journal.push(id);
        }
        tokio::time::sleep(RETRY_DELAY * 3).await;
        ledger.unreachable.store(false, Ordering::Relaxed);
        tokio::time::sleep(RETRY_DELAY * 10).await;
        assert_eq!(ledger.batches().concat(), (10..MAX_QUEUED + 10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_repeats_the_same_batch() {
        let (journal, ledger) = journal(&Tasks::new());
        ledger.loses_reply.store(true, Ordering::Relaxed);
        journal.push(0);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        journal.push(1);
        tokio::time::sleep(RETRY_DELAY * 2).await;
        assert_eq!(ledger.batches(), [[0], [1]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_batch_does_not_stop_later_ones() {
        let (journal, ledger) = journal(&Tasks::new());
        ledger.rejects.store(true, Ordering::Relaxed);
        journal.push(0);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        ledger.rejects.store(false, Ordering::Relaxed);
        journal.push(1);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        assert_eq!(ledger.batches(), [[1]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_does_not_wait_for_an_unreachable_ledger() {
        let tasks = Tasks::new();
        let (journal, ledger) = journal(&tasks);
        ledger.unreachable.store(true, Ordering::Relaxed);
        journal.push(0);
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert!(ledger.batches().is_empty());
    }
}
