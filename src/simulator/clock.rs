//! One monotonic clock for all providers, in microseconds since the epoch.

use tokio::time::Instant;

/// The wall time of the start plus the time since, so that it never goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch_us: i64,
    started: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { epoch_us: jiff::Timestamp::now().as_microsecond(), started: Instant::now() }
    }

    pub(super) fn now_us(self) -> i64 {
        let passed = self.started.elapsed().as_micros();
        self.epoch_us.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}
