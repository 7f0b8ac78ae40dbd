//! What the judge remembers: the most that was ever seen in any window, what was refused and why, and who left when.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// One call, as `/_audit/log` shows it. Instants are ms of our clock, at the arrival after jitter.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallRecord {
    pub time_ms: i64,
    pub account: String,
    pub model: String,
    /// What was answered; 0 while undecided, 499 when the caller left before it.
    pub status: u16,
    /// Tokens charged: the reservation at first, what was used at the end.
    pub tokens: i64,
    pub stream: bool,
    pub cancelled: bool,
    /// When the answer ended, or when we noticed that the caller had left; unset while it runs.
    pub ended_ms: Option<i64>,
    /// Pieces of the answer handed over by then.
    pub pieces: usize,
    /// The limit that refused it.
    pub refused_by: Option<&'static str>,
    /// The fault it met.
    pub fault: Option<String>,
}

/// A bounded log, oldest out first. A line is named by its number since the start.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: VecDeque<CallRecord>,
    dropped: u64,
    capacity: usize,
}

impl Log {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Keeps a line; the number under which [`Log::update`] finds it. Without capacity nothing is built.
    pub(crate) fn add(&mut self, line: impl FnOnce() -> CallRecord) -> u64 {
        if self.capacity == 0 {
            return u64::MAX;
        }
        if self.lines.len() >= self.capacity {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line());
        self.dropped + self.lines.len() as u64 - 1
    }

    pub(crate) fn update(&mut self, number: u64, change: impl FnOnce(&mut CallRecord)) {
        let place = number.checked_sub(self.dropped).and_then(|place| usize::try_from(place).ok());
        if let Some(line) = place.and_then(|place| self.lines.get_mut(place)) {
            change(line);
        }
    }

    /// Lines that came at `since_ms` or later, in order of arrival.
    pub(crate) fn since(&self, since_ms: i64) -> impl Iterator<Item = &CallRecord> {
        self.lines.iter().filter(move |line| line.time_ms >= since_ms)
    }
}

/// What became of the calls of one account for one model.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tally {
    /// Calls that were counted or refused by a limit: authorised and well-formed.
    pub seen: u64,
    pub admitted: u64,
    /// 429s and walls, by limit.
    pub refused: BTreeMap<&'static str, u64>,
    /// Faults served, by name.
    pub faults: BTreeMap<String, u64>,
    /// The caller left before the end.
    pub cancelled: u64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    pub in_flight: i64,
    pub in_flight_most: i64,
    /// First and last arrival, ms.
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

/// One window as `/_audit` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct WindowReport {
    pub kind: &'static str,
    pub limit: i64,
    /// Charged in all.
    pub units: i64,
    /// In the window now, as the provider counts.
    pub now: f64,
    /// The most the provider ever saw in the window as it counts it, refused calls included: for a sliding window the
    /// most in any span, for a bucket its highest level, else the most in one period.
    pub most: f64,
    /// Above the limit at the worst.
    pub over: f64,
    /// The most ever let through.
    pub most_admitted: f64,
    /// The most in any interval of one span, whatever the kind, refused calls included.
    pub most_in_any_span: f64,
    /// Units by period (ms of its first instant), of clock and calendar windows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub periods: BTreeMap<i64, i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time_ms: i64) -> CallRecord {
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
    fn a_full_log_drops_its_oldest_line_and_still_finds_the_others() {
        let mut log = Log::with_capacity(2);
        let numbers: Vec<u64> = (0..3).map(|t| log.add(|| line(t))).collect();
        log.update(numbers[0], |line| line.status = 500);
        log.update(numbers[2], |line| line.status = 200);
        let kept: Vec<(i64, u16)> = log.since(0).map(|line| (line.time_ms, line.status)).collect();
        assert_eq!(kept, [(1, 0), (2, 200)]);
    }

    #[test]
    fn a_log_without_capacity_builds_nothing() {
        let mut log = Log::with_capacity(0);
        let number = log.add(|| unreachable!("not built"));
        log.update(number, |_| unreachable!("not found"));
    }
}
