//! Queue of journal records, written to the ledger in batches and off the request's path.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
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
/// Bytes of one batch. A record alone may be larger.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Records, and their bytes, that are kept while the ledger is unreachable. Beyond either the oldest are dropped.
const MAX_QUEUED: usize = 4_096;
const MAX_QUEUED_BYTES: usize = 16 << 20;

/// Why a batch was not written, or may not have been. The text is for the log.
#[derive(Debug, Clone)]
pub(crate) enum WriteError {
    /// The ledger is unreachable, or was too late: the first half of the batch is tried again.
    Unavailable(String),
    /// Another try would fail, too.
    Rejected(String),
}

/// Writes one batch, oldest record first. The number is that of its last record: records are numbered from 1. A batch whose
/// number is not above that of the last one written was written before, wholly, and is left out.
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
    /// Bytes of a record.
    size: fn(&R) -> usize,
    write: Box<Write<R>>,
    /// Number of the last record that was written or lost.
    written: watch::Sender<u64>,
    tasks: Tasks,
}

struct Queue<R> {
    records: VecDeque<R>,
    bytes: usize,
    /// Records dropped since the last warning.
    dropped: u64,
    /// Number of the last record that was taken.
    number: u64,
    is_writing: bool,
}

impl<R: Clone + Send + Sync + 'static> Journal<R> {
    pub(crate) fn new(
        tasks: Tasks,
        size: fn(&R) -> usize,
        write: impl Fn(u64, Arc<[R]>) -> BoxFuture<'static, Result<(), WriteError>> + Send + Sync + 'static,
    ) -> Self {
        let queue = Queue { records: VecDeque::new(), bytes: 0, dropped: 0, number: 0, is_writing: false };
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                size,
                write: Box::new(write),
                written: watch::Sender::new(0),
                tasks,
            }),
        }
    }

    /// Resolves when the records that are queued now have been written. Dropped ones keep it waiting.
    pub(crate) async fn written(&self) {
        let last = {
            let queue = self.shared.queue.lock();
            queue.number + queue.records.len() as u64
        };
        // The sender lives as long as `self`.
        let _ = self.shared.written.subscribe().wait_for(|written| *written >= last).await;
    }

    /// Queues a record without blocking. Where the queue is full, the oldest record is dropped and counted.
    pub(crate) fn push(&self, record: R) {
        let size = self.shared.size;
        let mut queue = self.shared.queue.lock();
        queue.bytes += size(&record);
        queue.records.push_back(record);
        while (queue.records.len() > MAX_QUEUED || queue.bytes > MAX_QUEUED_BYTES)
            && let Some(oldest) = queue.records.pop_front()
        {
            queue.bytes -= size(&oldest);
            queue.dropped += 1;
        }
        if !queue.is_writing {
            queue.is_writing = true;
            self.shared.tasks.spawn_aside(Arc::clone(&self.shared).write_all());
        }
    }
}

impl<R: Clone + Send + Sync + 'static> Shared<R> {
    /// Writes until the queue is empty, or until the process stops while the ledger is unreachable.
    async fn write_all(self: Arc<Self>) {
        tokio::time::sleep(BATCH_DELAY).await;
        while let Some((before, batch, has_more)) = self.take() {
            self.write_batch(before, &batch).await;
            self.written.send_replace(before + batch.len() as u64);
            tokio::time::sleep(if has_more { BATCH_DELAY_BUSY } else { BATCH_DELAY }).await;
        }
    }

    /// Writes one batch. After a failure its first half is tried: a batch that the ledger cannot write in time would be late
    /// again. Only the ledger knows whether a lost reply was a success; it leaves out what it has written.
    async fn write_batch(&self, before: u64, batch: &[R]) {
        let (mut done, mut size) = (0, batch.len());
        while done < batch.len() {
            let end = (done + size).min(batch.len());
            let error = match (self.write)(before + end as u64, batch[done..end].into()).await {
                Ok(()) => {
                    (done, size) = (end, size * 2);
                    continue;
                }
                // No warning: the ledger has logged its outage, and no record is lost yet.
                Err(WriteError::Unavailable(error)) if !self.tasks.is_stopping() => {
                    let kept = batch.len() - done;
                    debug!(journal.kept = kept, "Keeping {kept} journal records: {error}");
                    size = (end - done).div_ceil(2);
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
                Err(WriteError::Unavailable(error)) => {
                    size = batch.len() - done;
                    error
                }
                Err(WriteError::Rejected(error)) => error,
            };
            let lost = size.min(batch.len() - done);
            metrics::journal_dropped(lost as u64);
            warn!(journal.lost = lost, "Lost {lost} journal records: {error}");
            done += lost;
        }
    }

    /// The next batch, the number before its first record, and whether more records are queued. `None` ends the writer, under
    /// the same lock under which a new record starts one.
    fn take(&self) -> Option<(u64, Vec<R>, bool)> {
        let mut queue = self.queue.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            metrics::journal_dropped(dropped);
            warn!(journal.dropped = dropped, "Dropped the {dropped} oldest journal records: the queue was full");
        }
        let mut bytes = 0;
        let fits = |record: &&R| {
            let is_first = bytes == 0;
            bytes += (self.size)(record);
            is_first || bytes <= MAX_BATCH_BYTES
        };
        let count = queue.records.iter().take(MAX_BATCH).take_while(fits).count();
        queue.is_writing = count > 0;
        if count == 0 {
            return None;
        }
        let before = queue.number;
        let batch: Vec<R> = queue.records.drain(..count).collect();
        queue.bytes -= batch.iter().map(self.size).sum::<usize>();
        queue.number += count as u64;
        Some((before, batch, !queue.records.is_empty()))
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
        /// Larger batches are too late. 0: none is.
        late_above: AtomicU64,
        last: AtomicU64,
        batches: Mutex<Vec<Vec<usize>>>,
    }

    fn journal(tasks: &Tasks) -> (Journal<usize>, Arc<FakeLedger>) {
        let ledger = Arc::new(FakeLedger::default());
        let at = ledger.clone();
        let journal = Journal::new(
            tasks.clone(),
            |size: &usize| (*size).max(1),
            move |number, records: Arc<[usize]>| {
                let result = at.write(number, &records);
                async move { result }.boxed()
            },
        );
        (journal, ledger)
    }

    impl FakeLedger {
        fn write(&self, number: u64, records: &[usize]) -> Result<(), WriteError> {
            if self.rejects.load(Ordering::Relaxed) {
                return Err(WriteError::Rejected("rejects".to_owned()));
            }
            let unreachable = Err(WriteError::Unavailable("unreachable".to_owned()));
            let late_above = self.late_above.load(Ordering::Relaxed);
            if late_above > 0 && records.len() as u64 > late_above {
                return unreachable;
            }
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
        journal.written().await;
        assert_eq!(ledger.batches(), [vec![0, 1, 2], vec![3]]);
        journal.written().await;
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
    async fn a_batch_that_is_late_is_halved_until_it_is_not() {
        let (journal, ledger) = journal(&Tasks::new());
        ledger.late_above.store(10, Ordering::Relaxed);
        for id in 0..100 {
            journal.push(id);
        }
        tokio::time::sleep(RETRY_DELAY * 60).await;
        assert_eq!(ledger.batches().concat(), (0..100).collect::<Vec<_>>(), "each once, in order");
        assert!(ledger.batches().iter().all(|batch| batch.len() <= 10));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_and_the_queue_are_bounded_in_bytes() {
        let (journal, ledger) = journal(&Tasks::new());
        for _ in 0..4 {
            journal.push(MAX_BATCH_BYTES / 2);
        }
        journal.push(MAX_BATCH_BYTES * 2);
        tokio::time::sleep(BATCH_DELAY * 10).await;
        assert_eq!(ledger.batches().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        ledger.unreachable.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            journal.push(MAX_QUEUED_BYTES / 10);
        }
        assert!(journal.shared.queue.lock().bytes <= MAX_QUEUED_BYTES);
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
