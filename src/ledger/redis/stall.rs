//! Distinguishes a slow Redis from a dead connection, and reports each stall once.
//!
//! A command that is not answered yet keeps its place: its late reply counts. Only a connection on which nothing at all has
//! been received for a second is dead.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::telemetry;

/// A command without an answer for this time is slow.
pub(super) const SLOW: Duration = Duration::from_millis(100);
/// A connection is dead after this many periods of [`SLOW`] without any reply. Periods are counted instead of elapsed time,
/// so that a time in which this process did not run is not held against Redis.
const DEAD_AFTER: u32 = 10;

/// The stall of Redis that is going on, if there is one.
#[derive(Default)]
pub(super) struct Stalls {
    is_stalled: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Stalls {
    fn begin(&self, sent: Instant) {
        self.since.lock().get_or_insert(sent);
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    fn end(&self, is_lost: bool) {
        if !self.is_stalled.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(since) = self.since.lock().take() else { return };
        let took = since.elapsed();
        telemetry::ledger_stalled(took);
        let ms = took.as_millis();
        if is_lost {
            // The ledger logs the outage.
            debug!("Redis did not answer for {ms} ms, and the connection counts as dead");
        } else {
            info!(
                stall_ms = u64::try_from(ms).unwrap_or(u64::MAX),
                "Redis did not answer for {ms} ms; requests waited"
            );
        }
    }

    /// The result of a command, or `None` if its connection is dead. `replies` counts the replies on that connection.
    pub(super) async fn answer<T, E>(
        &self,
        replies: &AtomicU64,
        mut command: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Option<Result<T, E>> {
        let sent = Instant::now();
        let (mut seen, mut silent) = (replies.load(Ordering::Relaxed), 0);
        let result = loop {
            if let Ok(result) = timeout(SLOW, &mut command).await {
                break result;
            }
            let count = replies.load(Ordering::Relaxed);
            silent = if count == seen { silent + 1 } else { 0 };
            seen = count;
            if silent > 0 {
                self.begin(sent);
            }
            if silent >= DEAD_AFTER {
                // This process may be late instead of Redis: read what has arrived by now.
                tokio::task::yield_now().await;
                let Some(result) = command.as_mut().now_or_never() else {
                    self.end(true);
                    return None;
                };
                break result;
            }
        };
        if result.is_ok() {
            replies.fetch_add(1, Ordering::Relaxed);
        }
        if self.is_stalled.load(Ordering::Relaxed) {
            self.end(result.is_err());
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::sleep;

    use super::*;

    async fn answer_after(ms: u64) -> Result<(), ()> {
        sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_counts_until_a_second_of_silence() {
        let (stalls, replies) = (Stalls::default(), AtomicU64::new(0));
        assert_eq!(stalls.answer(&replies, pin!(answer_after(950))).await, Some(Ok(())));
        assert_eq!(replies.load(Ordering::Relaxed), 1);
        let began = Instant::now();
        assert_eq!(stalls.answer(&replies, pin!(answer_after(5_000))).await, None);
        assert_eq!(began.elapsed().as_millis() / 10, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_answers_others_is_alive() {
        let (stalls, replies) = (Stalls::default(), AtomicU64::new(0));
        let others = async {
            for _ in 0..6 {
                sleep(Duration::from_millis(700)).await;
                replies.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut slow = pin!(answer_after(4_000));
        let (slow, ()) = tokio::join!(stalls.answer(&replies, slow.as_mut()), others);
        assert_eq!(slow, Some(Ok(())));
    }
}
