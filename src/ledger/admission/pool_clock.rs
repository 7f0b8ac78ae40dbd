//! The clock of the pool as this replica knows it, beside a clock of its own that never jumps.

use rustix::time::{ClockId, clock_gettime};

/// As in `lua/admission/sync.lua`. Less may be a correction of the clock in small steps.
const MAX_GAP_MS: i64 = 1_000;

/// It goes on while the machine sleeps, as TIME does.
#[cfg(target_os = "linux")]
const OWN_CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const OWN_CLOCK: ClockId = ClockId::Monotonic;

/// This process's own clock in ms.
pub(super) fn own_ms() -> i64 {
    let now = clock_gettime(OWN_CLOCK);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// An instant of the pool, and when by our own clock its reading was requested and received.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "units stand last in a name")]
struct Reading {
    pool_ms: i64,
    sent_ms: i64,
    received_ms: i64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct PoolClock {
    reading: Option<Reading>,
    /// The pool's clock is ahead of TIME by this.
    pub offset_ms: i64,
    /// How often the offset was corrected.
    pub corrections: i64,
}

impl PoolClock {
    /// The instant of the pool that has surely passed at this instant of our own clock.
    pub(super) fn surely_passed(&self, own_ms: i64) -> Option<i64> {
        self.reading.map(|reading| reading.pool_ms + own_ms - reading.received_ms)
    }

    /// By how much TIME has jumped, if it was read between these two instants of our own clock as this instant of the pool.
    /// `None`: by nothing, or nothing is known. A jump ahead is taken for longer than it may be, by the time of the reading:
    /// windows that last a little longer are never over.
    pub(super) fn jump(&self, pool_ms: i64, sent_ms: i64, received_ms: i64) -> Option<i64> {
        let Reading { pool_ms: before, sent_ms: first_sent, received_ms: first_received } = self.reading?;
        let earliest = before + sent_ms - first_received;
        let latest = before + received_ms - first_sent;
        let is_plausible = pool_ms >= earliest - MAX_GAP_MS && pool_ms <= latest + MAX_GAP_MS;
        (!is_plausible).then_some(pool_ms - earliest)
    }

    pub(super) fn set(&mut self, pool_ms: i64, sent_ms: i64, received_ms: i64) {
        self.reading = Some(Reading { pool_ms, sent_ms, received_ms });
    }

    pub(super) fn knows_time(&self) -> bool {
        self.reading.is_some()
    }
}

/// Whether TIME is behind an instant that the pool has acted on, by more than a small correction.
pub(super) fn is_behind(pool_ms: i64, last_ms: i64) -> bool {
    pool_ms < last_ms - MAX_GAP_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_differs_from_a_call_that_took_long() {
        let mut clock = PoolClock::default();
        assert_eq!((clock.jump(5, 0, 1), clock.surely_passed(7)), (None, None));
        clock.set(100_000, 1_000, 1_010);
        assert_eq!(clock.surely_passed(2_010), Some(101_000));
        // A reading that was requested at 2 s and received at once, and one that was received after a minute.
        for (pool_ms, received_ms, jump) in [
            (101_000, 2_010, None),
            (102_000, 2_010, None),
            (102_100, 2_010, Some(1_110)),
            (99_900, 2_010, Some(-1_090)),
            (160_000, 62_000, None),
            (162_100, 62_000, Some(61_110)),
            (7_300_990, 2_010, Some(7_200_000)),
        ] {
            assert_eq!(clock.jump(pool_ms, 2_000, received_ms), jump, "{pool_ms} {received_ms}");
        }
    }

    #[test]
    fn our_own_clock_does_not_go_back() {
        let before = own_ms();
        assert!(before > 0 && own_ms() >= before);
    }
}
