//! The audit: the highest level of every window, refusals with their cause, and a log of calls.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// One call in `/_audit/log`. Times are in ms of the simulator's clock.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallRecord {
    /// Arrival, after jitter.
    pub time_ms: i64,
    pub account: String,
    pub model: String,
    /// The status sent; 0 before that, 499 when the client left before it.
    pub status: u16,
    /// Tokens charged: the reservation at first, the usage at the end.
    pub tokens: i64,
    pub stream: bool,
    pub cancelled: bool,
    /// When the response ended, or when the client's departure was noticed.
    pub ended_ms: Option<i64>,
    /// Pieces of the response sent by then.
    pub pieces: usize,
    /// The limit that refused it.
    pub refused_by: Option<&'static str>,
    /// The fault that applied.
    pub fault: Option<String>,
}

/// A bounded log that drops the oldest call first. Each call has a number, counted from the start.
#[derive(Debug, Default)]
pub(crate) struct Log {
    calls: VecDeque<CallRecord>,
    dropped: u64,
    capacity: usize,
}

impl Log {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Adds a call and returns its number for [`Log::update`]. Builds nothing where the log has no capacity.
    pub(crate) fn add(&mut self, call: impl FnOnce() -> CallRecord) -> u64 {
        if self.capacity == 0 {
            return u64::MAX;
        }
        if self.calls.len() >= self.capacity {
            self.calls.pop_front();
            self.dropped += 1;
        }
        self.calls.push_back(call());
        self.dropped + self.calls.len() as u64 - 1
    }

    pub(crate) fn update(&mut self, number: u64, change: impl FnOnce(&mut CallRecord)) {
        let index = number.checked_sub(self.dropped).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            change(call);
        }
    }

    /// Calls that arrived at `since_ms` or later, in order of arrival.
    pub(crate) fn since(&self, since_ms: i64) -> impl Iterator<Item = &CallRecord> {
        self.calls.iter().filter(move |call| call.time_ms >= since_ms)
    }
}

/// Totals of the calls of one account for one model.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tally {
    /// Authorised and well-formed calls: those counted, and those refused by a limit.
    pub seen: u64,
    pub admitted: u64,
    /// Refusals by limit.
    pub refused: BTreeMap<&'static str, u64>,
    /// Applied faults by name.
    pub faults: BTreeMap<String, u64>,
    /// Calls whose client left before the end.
    pub cancelled: u64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    pub in_flight: i64,
    pub in_flight_most: i64,
    /// First and last arrival in ms.
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
}

impl Tally {
    pub(crate) fn arrived(&mut self, now_ms: i64) {
        self.seen += 1;
        self.first_ms.get_or_insert(now_ms);
        self.last_ms = Some(now_ms);
    }

    pub(crate) fn began(&mut self) {
        self.in_flight += 1;
        self.in_flight_most = self.in_flight_most.max(self.in_flight);
    }
}

/// One window in `/_audit`.
#[derive(Debug, Serialize)]
pub(crate) struct WindowReport {
    pub kind: &'static str,
    pub limit: i64,
    /// Units charged in total.
    pub units: i64,
    /// Units in the window now, by the provider's count.
    pub now: f64,
    /// The highest level by the provider's count, including refused calls: for a sliding window the most in any span, for
    /// a bucket its highest level, otherwise the most in one period.
    pub most: f64,
    /// Highest excess over the limit.
    pub over: f64,
    /// The highest level of admitted calls.
    pub most_admitted: f64,
    /// The most units in any interval of one span, for every kind of window, including refused calls.
    pub most_in_any_span: f64,
    /// Units by the start of the period in ms, of clock and calendar windows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub periods: BTreeMap<i64, i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(time_ms: i64) -> CallRecord {
        CallRecord {
            time_ms,
            account: "main".into(),
            model: "m".into(),
            status: 0,
            tokens: 0,
            stream: false,
            cancelled: false,
            ended_ms: None,
            pieces: 0,
            refused_by: None,
            fault: None,
        }
    }

    #[test]
    fn a_full_log_drops_its_oldest_call_and_finds_the_others() {
        let mut log = Log::with_capacity(2);
        let numbers: Vec<u64> = (0..3).map(|t| log.add(|| call(t))).collect();
        log.update(numbers[0], |call| call.status = 500);
        log.update(numbers[2], |call| call.status = 200);
        let kept: Vec<(i64, u16)> = log.since(0).map(|call| (call.time_ms, call.status)).collect();
        assert_eq!(kept, [(1, 0), (2, 200)]);
    }

    #[test]
    fn a_log_without_capacity_builds_nothing() {
        let mut log = Log::with_capacity(0);
        let number = log.add(|| unreachable!("not built"));
        log.update(number, |_| unreachable!("not found"));
    }
}
