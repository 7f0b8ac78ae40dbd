//! Lines on their way into the pool's journal: in batches, off the callers' path.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tracing::{debug, warn};

use super::metrics;
use crate::shutdown::Tasks;

/// How long a line may wait for others to share its trip.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// The same while more is waiting than one trip takes.
const BATCH_DELAY_BUSY: Duration = Duration::from_millis(10);
/// After a batch that could not be written.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// About a millisecond of the ledger's time.
const MAX_BATCH: usize = 128;
/// Kept while the ledger is away; beyond it the oldest are dropped.
const MAX_QUEUED: usize = 4_096;

/// Why a batch was not written, or may not have been; the words are for the log.
#[derive(Debug, Clone)]
pub enum WriteError {
    /// The ledger is away: the same batch under the same number again.
    Unavailable(String),
    /// It would fail again.
    Rejected(String),
}

/// Writes one batch, oldest first. Its number rises from 1 and stays the same when it is tried again.
pub type Write<L> = dyn Fn(u64, Arc<[L]>) -> BoxFuture<'static, Result<(), WriteError>> + Send + Sync;

/// Cheap to clone. A writing task lives only while there is something to write, so the drain waits for just that.
pub struct Journal<L> {
    shared: Arc<Shared<L>>,
}

impl<L> Clone for Journal<L> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<L> {
    queue: Mutex<Queue<L>>,
    write: Box<Write<L>>,
    tasks: Tasks,
}

struct Queue<L> {
    lines: VecDeque<L>,
    /// Since this was last told, and ever.
    dropped: u64,
    lost: u64,
    /// Of the last batch.
    number: u64,
    is_writing: bool,
}

impl<L: Send + Sync + 'static> Journal<L> {
    pub fn new(
        tasks: Tasks,
        write: impl Fn(u64, Arc<[L]>) -> BoxFuture<'static, Result<(), WriteError>> + Send + Sync + 'static,
    ) -> Self {
        let queue = Queue { lines: VecDeque::new(), dropped: 0, lost: 0, number: 0, is_writing: false };
        Self { shared: Arc::new(Shared { queue: Mutex::new(queue), write: Box::new(write), tasks }) }
    }

    /// Lines that never reached the ledger.
    pub fn lost(&self) -> u64 {
        self.shared.queue.lock().lost
    }

    /// Never blocks, never fails: where too much is waiting the oldest is lost, and counted.
    pub fn push(&self, line: L) {
        let mut queue = self.shared.queue.lock();
        if queue.lines.len() >= MAX_QUEUED {
            queue.lines.pop_front();
            queue.dropped += 1;
            queue.lost += 1;
        }
        queue.lines.push_back(line);
        if !queue.is_writing {
            queue.is_writing = true;
            self.shared.tasks.spawn_aside(Arc::clone(&self.shared).write_all());
        }
    }
}

impl<L: Send + Sync + 'static> Shared<L> {
    /// Until nothing is left, or until the process ends and the ledger is away.
    async fn write_all(self: Arc<Self>) {
        tokio::time::sleep(BATCH_DELAY).await;
        while let Some((number, batch)) = self.take() {
            let is_full = batch.len() == MAX_BATCH;
            self.write_one(number, batch).await;
            tokio::time::sleep(if is_full { BATCH_DELAY_BUSY } else { BATCH_DELAY }).await;
        }
    }

    /// One batch, and always the same one: whether a lost reply meant yes is known to the ledger alone.
    async fn write_one(&self, number: u64, batch: Arc<[L]>) {
        let count = batch.len();
        loop {
            let error = match (self.write)(number, batch.clone()).await {
                Ok(()) => return,
                // No warning: whoever failed has told it, and nothing is lost yet.
                Err(WriteError::Unavailable(error)) if !self.tasks.is_stopping() => {
                    debug!(journal.kept = count, "Keeping {count} journal lines: {error}");
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
                Err(WriteError::Unavailable(error) | WriteError::Rejected(error)) => error,
            };
            self.queue.lock().lost += count as u64;
            warn!(journal.lost = count, "Lost {count} journal lines: {error}");
            return;
        }
    }

    /// The next batch and its number; `None` ends the writer under the same lock that a new line starts one.
    fn take(&self) -> Option<(u64, Arc<[L]>)> {
        let mut queue = self.queue.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            metrics::journal_dropped(dropped);
            warn!(
                journal.dropped = dropped,
                "Dropped the {dropped} oldest journal lines: more came than could be written"
            );
        }
        let count = queue.lines.len().min(MAX_BATCH);
        queue.is_writing = count > 0;
        if count == 0 {
            return None;
        }
        queue.number += 1;
        Some((queue.number, queue.lines.drain(..count).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use futures_util::FutureExt;

    /// A ledger that may be away, that may lose its reply, and that writes no batch twice.
    #[derive(Default)]
    struct Far {
        away: AtomicBool,
        mute: AtomicBool,
        broken: AtomicBool,
        last: AtomicU64,
        batches: Mutex<Vec<Vec<usize>>>,
    }

    fn journal(tasks: &Tasks) -> (Journal<usize>, Arc<Far>) {
        let far = Arc::new(Far::default());
        let at = far.clone();
        let journal = Journal::new(tasks.clone(), move |number, lines| {
            let result = at.write(number, &lines);
            async move { result }.boxed()
        });
        (journal, far)
    }

    impl Far {
        fn write(&self, number: u64, lines: &[usize]) -> Result<(), WriteError> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(WriteError::Rejected("broken".to_owned()));
            }
            let away = Err(WriteError::Unavailable("away".to_owned()));
            if self.away.load(Ordering::Relaxed) {
                return away;
            }
            if number > self.last.swap(number, Ordering::Relaxed) {
                self.batches.lock().push(lines.to_vec());
            }
            if self.mute.swap(false, Ordering::Relaxed) { away } else { Ok(()) }
        }

        fn batches(&self) -> Vec<Vec<usize>> {
            self.batches.lock().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_tenth_of_a_second_is_written_together() {
        let (journal, far) = journal(&Tasks::new());
        for id in 0..3 {
            journal.push(id);
        }
        tokio::time::sleep(BATCH_DELAY * 2).await;
        journal.push(3);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        assert_eq!(far.batches(), [vec![0, 1, 2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_what_was_told() {
        let tasks = Tasks::new();
        let (journal, far) = journal(&tasks);
        journal.push(0);
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert_eq!(far.batches(), [[0]]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_delays_and_loses_the_oldest_only_when_too_many() {
        let (journal, far) = journal(&Tasks::new());
        far.away.store(true, Ordering::Relaxed);
        for id in 0..MAX_QUEUED + 10 {
            journal.push(id);
        }
        assert_eq!(journal.lost(), 10);
        tokio::time::sleep(RETRY_DELAY * 3).await;
        far.away.store(false, Ordering::Relaxed);
        tokio::time::sleep(RETRY_DELAY * 10).await;
        assert_eq!(far.batches().concat(), (10..MAX_QUEUED + 10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_brings_the_same_batch_again_and_nothing_else() {
        let (journal, far) = journal(&Tasks::new());
        far.mute.store(true, Ordering::Relaxed);
        journal.push(0);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        journal.push(1);
        tokio::time::sleep(RETRY_DELAY * 2).await;
        assert_eq!(far.batches(), [[0], [1]]);
        assert_eq!(journal.lost(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_ledger_refuses_does_not_stop_the_rest() {
        let (journal, far) = journal(&Tasks::new());
        far.broken.store(true, Ordering::Relaxed);
        journal.push(0);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        far.broken.store(false, Ordering::Relaxed);
        journal.push(1);
        tokio::time::sleep(BATCH_DELAY * 2).await;
        assert_eq!((far.batches(), journal.lost()), (vec![vec![1]], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_does_not_wait_for_a_ledger_that_is_away() {
        let tasks = Tasks::new();
        let (journal, far) = journal(&tasks);
        far.away.store(true, Ordering::Relaxed);
        journal.push(0);
        assert!(tasks.drain(Duration::from_secs(5)).await);
        assert!(far.batches().is_empty());
    }
}
