//! Requests that wait for the ledger while it cannot be reached, in order of their arrival at this replica.
//!
//! When the ledger is back they are not sent all at once: a window bounds the admissions that are outstanding, and grows while
//! replies are quick. Requests that arrive meanwhile go behind them. Requests with a ticket come here too, because the tickets
//! may be lost: they are sent first, and get their places in the wait queue back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// Outstanding admissions at first.
const FIRST_WINDOW: usize = 8;
const MAX_WINDOW: usize = 256;
/// A round trip within this time makes the window larger by one; one that takes longer than [`SLOW`] halves it.
const QUICK: Duration = Duration::from_millis(25);
const SLOW: Duration = Duration::from_millis(100);
/// After an outage of this length tickets may have expired, so all requests with tickets are sent again.
const TICKETS_AT_RISK: Duration = Duration::from_millis(1_500);
/// Time in which they collect here before the first of them is sent.
const COLLECT: Duration = Duration::from_millis(20);

pub(crate) struct OutageQueue {
    /// The ledger is reachable and nothing is held here: requests pass without the lock.
    is_clear: AtomicBool,
    arrivals: AtomicU64,
    /// The most requests without a ticket that are held.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    away_since: Option<(Instant, Timestamp)>,
    /// Nothing is sent before this instant.
    hold_until: Option<Instant>,
    /// By number of arrival.
    held: BTreeMap<u64, Held>,
    /// Those of them without a ticket.
    without_ticket: usize,
    outstanding: usize,
    window: usize,
}

struct Held {
    release: oneshot::Sender<Permit>,
    has_ticket: bool,
    /// Its client key is known. Requests with keys that could not be checked give way to all others.
    is_verified: bool,
}

impl State {
    fn remove(&mut self, number: u64) -> Option<Held> {
        let held = self.held.remove(&number)?;
        self.without_ticket -= usize::from(!held.has_ticket);
        Some(held)
    }

    /// The request that is sent next. During a hold these are those with a ticket: they get their places back, before anyone is
    /// admitted.
    fn next(&self) -> Option<u64> {
        let mut held = self.held.iter();
        let next = if self.hold_until.is_some() { held.find(|(_, held)| held.has_ticket) } else { held.next() };
        next.map(|(number, _)| *number)
    }

    /// Refuses the newest request whose key could not be checked, or else the newest without a ticket.
    fn refuse_newest(&mut self) {
        let newest = |is_refused: fn(&Held) -> bool| {
            self.held.iter().rev().find(|(_, held)| is_refused(held)).map(|(number, _)| *number)
        };
        if let Some(number) = newest(|held| !held.is_verified).or_else(|| newest(|held| !held.has_ticket)) {
            self.remove(number);
        }
    }
}

/// Why a request was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ledger) enum NotReleased {
    /// It was held for as long as it may wait.
    TimeOver,
    /// More requests than the limit are held.
    TooMany,
}

/// The right to send one admission. A drop passes it on.
#[derive(Debug)]
pub(in crate::ledger) struct Permit {
    queue: Option<Arc<OutageQueue>>,
    began: Instant,
}

impl std::fmt::Debug for OutageQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutageQueue").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let took = self.began.elapsed();
        let mut state = queue.state.lock();
        state.outstanding -= 1;
        if took <= QUICK {
            state.window = (state.window + 1).min(MAX_WINDOW);
        } else if took > SLOW {
            state.window = (state.window / 2).max(FIRST_WINDOW);
        }
        queue.release(state);
    }
}

/// Takes a request whose caller has left out of the queue.
struct Leave<'a> {
    queue: &'a Arc<OutageQueue>,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        if state.remove(self.number).is_some() {
            self.queue.release(state);
        }
    }
}

impl OutageQueue {
    pub(in crate::ledger) fn new(limit: usize) -> Self {
        Self {
            is_clear: AtomicBool::new(true),
            arrivals: AtomicU64::new(0),
            limit,
            state: Mutex::new(State { window: FIRST_WINDOW, ..State::default() }),
        }
    }

    /// The number of a request, which orders it here.
    pub(super) fn next_arrival(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether requests pass without waiting.
    pub(in crate::ledger) fn is_clear(&self) -> bool {
        self.is_clear.load(Ordering::Acquire)
    }

    /// Requests that are held.
    pub(in crate::ledger) fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    pub(in crate::ledger) fn away_since(&self) -> Option<Timestamp> {
        self.state.lock().away_since.map(|(_, since)| since)
    }

    /// Whether this outage began after an instant.
    pub(in crate::ledger) fn was_closed_after(&self, instant: Instant) -> bool {
        self.state.lock().away_since.is_some_and(|(since, _)| instant < since)
    }

    /// The ledger cannot be reached: from now on requests are held.
    pub(in crate::ledger) fn close(&self) {
        let mut state = self.state.lock();
        state.away_since.get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        self.is_clear.store(false, Ordering::Release);
    }

    /// The ledger is reachable. Returns how long to wait before [`Self::resume`] where tickets may be lost: those who have
    /// one are to be woken.
    pub(in crate::ledger) fn open(self: &Arc<Self>) -> Option<Duration> {
        let mut state = self.state.lock();
        let (since, _) = state.away_since.take()?;
        state.window = FIRST_WINDOW;
        let collect = (since.elapsed() >= TICKETS_AT_RISK).then_some(COLLECT);
        if let Some(collect) = collect {
            state.hold_until = state.hold_until.max(Some(Instant::now() + collect));
        }
        self.release(state);
        collect
    }

    /// Nothing is sent for this time, after which [`Self::resume`] is to be called.
    pub(in crate::ledger) fn hold(&self, time: Duration) {
        let mut state = self.state.lock();
        state.hold_until = state.hold_until.max(Some(Instant::now() + time));
        self.is_clear.store(false, Ordering::Release);
    }

    /// Goes on after a hold.
    pub(in crate::ledger) fn resume(self: &Arc<Self>) {
        self.release(self.state.lock());
    }

    /// Waits until the request may be sent. The permit is `None` while there is no outage.
    pub(super) async fn pass(
        self: &Arc<Self>,
        number: u64,
        has_ticket: bool,
        deadline: Instant,
    ) -> Result<Option<Permit>, NotReleased> {
        self.wait_in(number, deadline, |release| Held { release, has_ticket, is_verified: true }).await
    }

    /// The same for a request whose client key could not be checked yet.
    pub(in crate::ledger) async fn pass_unverified(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Option<Permit>, NotReleased> {
        let number = self.next_arrival();
        self.wait_in(number, deadline, |release| Held { release, has_ticket: false, is_verified: false }).await
    }

    async fn wait_in(
        self: &Arc<Self>,
        number: u64,
        deadline: Instant,
        held: impl FnOnce(oneshot::Sender<Permit>) -> Held,
    ) -> Result<Option<Permit>, NotReleased> {
        if self.is_clear() {
            return Ok(None);
        }
        let (release, released) = oneshot::channel();
        let leave = Leave { queue: self, number };
        {
            let mut state = self.state.lock();
            let held = held(release);
            state.without_ticket += usize::from(!held.has_ticket);
            state.held.insert(number, held);
            if state.without_ticket > self.limit {
                state.refuse_newest();
            }
            self.release(state);
        }
        let result = match timeout_at(deadline, released).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(NotReleased::TooMany),
            Err(_) => Err(NotReleased::TimeOver),
        };
        drop(leave);
        result
    }

    /// Sends as many as the window allows.
    fn release(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.away_since.is_some() {
            return;
        }
        let now = Instant::now();
        if state.hold_until.is_some_and(|until| now >= until) {
            state.hold_until = None;
        }
        while state.outstanding < state.window
            && let Some(number) = state.next()
            && let Some(held) = state.remove(number)
        {
            match held.release.send(Permit { queue: Some(self.clone()), began: now }) {
                Ok(()) => state.outstanding += 1,
                // Its caller has left. The permit was not counted.
                Err(mut permit) => permit.queue = None,
            }
        }
        self.is_clear.store(state.held.is_empty() && state.hold_until.is_none(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    fn after(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    /// Holds `count` requests, and returns in which order they are released.
    async fn held(queue: &Arc<OutageQueue>, count: u64, order: &Arc<Mutex<Vec<u64>>>) -> JoinSet<()> {
        let mut requests = JoinSet::new();
        for number in 0..count {
            let (queue, order) = (queue.clone(), order.clone());
            requests.spawn(async move {
                let permit = queue.pass(number, false, after(60_000)).await;
                order.lock().push(number);
                sleep(Duration::from_millis(5)).await;
                drop(permit);
            });
        }
        sleep(Duration::from_millis(1)).await;
        requests
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_in_order_with_a_bounded_window() {
        let (queue, order) = (Arc::new(OutageQueue::new(1_000)), Arc::new(Mutex::new(Vec::new())));
        assert_eq!(queue.pass(0, false, after(0)).await.unwrap().map(drop), None);
        queue.close();
        let requests = held(&queue, 100, &order).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!((queue.held(), order.lock().len()), (100, 0));
        assert_eq!(queue.open(), Some(COLLECT));
        sleep(COLLECT).await;
        queue.resume();
        assert_eq!(queue.held(), 100 - FIRST_WINDOW);
        requests.join_all().await;
        assert!(order.lock().is_sorted(), "{:?}", order.lock());
        assert!(queue.is_clear() && queue.state.lock().window > FIRST_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn above_the_limit_the_oldest_stay_and_tickets_are_not_counted() {
        let queue = Arc::new(OutageQueue::new(2));
        queue.close();
        let mut held = JoinSet::new();
        let pass = |number, has_ticket| {
            let queue = queue.clone();
            async move { (number, queue.pass(number, has_ticket, after(1_000)).await.map(drop)) }
        };
        for (number, has_ticket) in [(1, false), (2, false), (3, true)] {
            held.spawn(pass(number, has_ticket));
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(pass(4, false).await, (4, Err(NotReleased::TooMany)), "the newest is refused");
        held.spawn(pass(0, false));
        let refused = held.join_next().await.unwrap().unwrap();
        assert_eq!(refused, (2, Err(NotReleased::TooMany)), "the newest is refused, not the oldest");
        queue.open();
        let mut released = held.join_all().await;
        released.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(released, [(0, Ok(())), (1, Ok(())), (3, Ok(()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_with_unchecked_keys_give_way_to_others() {
        let queue = Arc::new(OutageQueue::new(2));
        queue.close();
        let mut held = JoinSet::new();
        for _ in 0..2 {
            let queue = queue.clone();
            held.spawn(async move { (0, queue.pass_unverified(after(1_000)).await.map(drop)) });
        }
        sleep(Duration::from_millis(1)).await;
        for number in [10, 11] {
            let queue = queue.clone();
            held.spawn(async move { (number, queue.pass(number, false, after(1_000)).await.map(drop)) });
            assert_eq!(held.join_next().await.unwrap().unwrap(), (0, Err(NotReleased::TooMany)));
        }
        queue.open();
        let mut released = held.join_all().await;
        released.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(released, [(10, Ok(())), (11, Ok(()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_no_longer_than_its_caller_and_leaves_with_it() {
        let queue = Arc::new(OutageQueue::new(10));
        queue.close();
        assert_eq!(queue.pass(0, false, after(300)).await.map(drop), Err(NotReleased::TimeOver));
        assert!(tokio::time::timeout(Duration::from_millis(10), queue.pass(1, false, after(300))).await.is_err());
        assert_eq!(queue.held(), 0);
        queue.open();
        assert!(queue.is_clear());
        queue.hold(Duration::from_millis(500));
        let began = Instant::now();
        let resumed = async {
            sleep(Duration::from_millis(500)).await;
            queue.resume();
        };
        let (passed, ()) = tokio::join!(queue.pass(2, false, after(1_000)), resumed);
        assert_eq!((passed.map(drop), began.elapsed().as_millis()), (Ok(()), 500));
    }
}
