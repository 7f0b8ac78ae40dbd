//! Naive counters: plain logs of charges, replayed. Exact rather than quick.
//!
//! All times are in µs of the provider's clock, which never goes back. A correction acts at the time of its charge: a bucket is
//! as full as if the true figure had been charged from the start, so that drained units are not given back twice.

use std::collections::{BTreeMap, VecDeque};

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::simulator::accounting::limit::{LimitName, WindowKind};

/// A limit and the kind of its window.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub name: LimitName,
    pub kind: WindowKind,
    pub max: i64,
    /// Used by [`WindowKind::Calendar`].
    pub zone: TimeZone,
}

impl Limit {
    fn span_us(&self) -> i64 {
        self.name.span_ms() * 1_000
    }

    /// Refill of a bucket in units per µs.
    fn refill(&self) -> f64 {
        float(self.max) / float(self.span_us())
    }

    /// The level of a bucket after draining for some time.
    fn drained(&self, level: f64, us: i64) -> f64 {
        (level - self.refill() * float(us.max(0))).max(0.0)
    }

    /// The start of the period that contains `now`, and of the next one.
    fn period(&self, now: i64) -> (i64, i64) {
        let span = self.span_us();
        if self.kind == WindowKind::Clock {
            let start = now.div_euclid(span) * span;
            return (start, start + span);
        }
        let here = Timestamp::from_microsecond(now).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone());
        let monthly = self.name.period() == "month";
        let first = if monthly { here.date().first_of_month() } else { here.date() };
        let next = if monthly { first.saturating_add(1.month()) } else { first.saturating_add(1.day()) };
        let midnight = |date: jiff::civil::Date| {
            date.to_zoned(self.zone.clone()).map_or(i64::MAX / 2, |instant| instant.timestamp().as_microsecond())
        };
        (midnight(first), midnight(next))
    }
}

#[expect(clippy::cast_precision_loss, reason = "token counts and µs since the epoch stay below 2^53")]
pub(crate) fn float(units: i64) -> f64 {
    units as f64
}

#[derive(Debug, Clone, Copy)]
struct ChargeEntry {
    id: u64,
    at: i64,
    units: i64,
    /// May still be corrected.
    open: bool,
}

/// The count of one window.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    log: VecDeque<ChargeEntry>,
    /// Units in the log.
    sum: i64,
    /// The level of a bucket at a time before the log. Final charges are folded into it.
    base: (f64, i64),
    /// Units by the start of their period.
    periods: BTreeMap<i64, i64>,
    /// The last period, so that the calendar is computed once a period.
    period: Option<(i64, i64)>,
}

/// Periods kept for the audit.
const MAX_PERIODS: usize = 1_024;
/// Sums of the same charges in another order differ by less than this.
const EPSILON: f64 = 1e-6;

impl Meter {
    /// Units in the window now.
    pub(crate) fn used(&mut self, limit: &Limit, now: i64) -> f64 {
        match limit.kind {
            WindowKind::Sliding => {
                self.expire(limit, now);
                float(self.sum)
            }
            WindowKind::Bucket => {
                self.fold(limit);
                let (mut level, mut then) = self.base;
                for entry in &self.log {
                    level = limit.drained(level, entry.at - then) + float(entry.units);
                    then = entry.at;
                }
                limit.drained(level, now - then)
            }
            WindowKind::Clock | WindowKind::Calendar => {
                let (start, _) = self.period_of(limit, now);
                float(self.periods.get(&start).copied().unwrap_or(0))
            }
        }
    }

    /// Charges `units`; `open` charges can be corrected until [`Meter::correct`] closes them.
    pub(crate) fn charge(&mut self, limit: &Limit, now: i64, id: u64, units: i64, open: bool) {
        if matches!(limit.kind, WindowKind::Clock | WindowKind::Calendar) {
            let (start, _) = self.period_of(limit, now);
            *self.periods.entry(start).or_default() += units;
            while self.periods.len() > MAX_PERIODS {
                self.periods.pop_first();
            }
            if !open {
                return;
            }
        }
        self.sum += units;
        self.log.push_back(ChargeEntry { id, at: now, units, open });
    }

    /// Replaces the units of a charge at its own time, and makes it final.
    pub(crate) fn correct(&mut self, limit: &Limit, id: u64, units: i64) {
        let Ok(at) = self.log.binary_search_by_key(&id, |entry| entry.id) else { return };
        let entry = &mut self.log[at];
        let change = units - entry.units;
        entry.units = units;
        entry.open = false;
        let charged_at = entry.at;
        self.sum += change;
        if matches!(limit.kind, WindowKind::Clock | WindowKind::Calendar) {
            self.log.remove(at);
            self.sum -= units;
            if let Some((_, counted)) = self.periods.range_mut(..=charged_at).next_back() {
                *counted += change;
            }
        }
    }

    /// Makes a charge final.
    pub(crate) fn close(&mut self, id: u64) {
        if let Ok(at) = self.log.binary_search_by_key(&id, |entry| entry.id) {
            self.log[at].open = false;
        }
    }

    /// Time until `units` fit in µs, 0 when they fit now. `units` must not exceed the limit.
    pub(crate) fn wait(&mut self, limit: &Limit, now: i64, units: i64) -> i64 {
        let over = self.used(limit, now) + float(units - limit.max);
        if over <= EPSILON {
            return 0;
        }
        match limit.kind {
            WindowKind::Sliding => {
                let mut over = over;
                for entry in &self.log {
                    over -= float(entry.units);
                    if over <= EPSILON {
                        return entry.at + limit.span_us() - now;
                    }
                }
                limit.span_us()
            }
            WindowKind::Bucket => whole(over / limit.refill()),
            WindowKind::Clock | WindowKind::Calendar => self.period_of(limit, now).1 - now,
        }
    }

    /// Time until the window is unused in µs.
    pub(crate) fn until_full(&mut self, limit: &Limit, now: i64) -> i64 {
        let used = self.used(limit, now);
        if used <= 0.0 {
            return 0;
        }
        match limit.kind {
            WindowKind::Sliding => self.log.back().map_or(0, |entry| entry.at + limit.span_us() - now),
            WindowKind::Bucket => whole(used / limit.refill()),
            WindowKind::Clock | WindowKind::Calendar => self.period_of(limit, now).1 - now,
        }
    }

    /// Units of each period counted so far, by its first instant.
    pub(crate) fn periods(&self) -> &BTreeMap<i64, i64> {
        &self.periods
    }

    /// Drops the entries outside (now − span, now]: an entry leaves exactly one span after its time.
    fn expire(&mut self, limit: &Limit, now: i64) {
        while let Some(entry) = self.log.front().filter(|entry| entry.at <= now - limit.span_us()) {
            self.sum -= entry.units;
            self.log.pop_front();
        }
    }

    /// Moves final charges from the log into the base.
    fn fold(&mut self, limit: &Limit) {
        while let Some(entry) = self.log.front().filter(|entry| !entry.open).copied() {
            let (level, then) = self.base;
            self.base = (limit.drained(level, entry.at - then) + float(entry.units), entry.at);
            self.sum -= entry.units;
            self.log.pop_front();
        }
    }

    fn period_of(&mut self, limit: &Limit, now: i64) -> (i64, i64) {
        match self.period {
            Some((start, end)) if start <= now && now < end => (start, end),
            _ => *self.period.insert(limit.period(now)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a wait is far below 2^63 µs")]
fn whole(us: f64) -> i64 {
    us.ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn limit(name: LimitName, kind: WindowKind, max: i64) -> Limit {
        Limit { name, kind, max, zone: TimeZone::UTC }
    }

    #[test]
    fn a_sliding_window_gives_back_exactly_one_span_later() {
        let rpm = limit(LimitName::Rpm, WindowKind::Sliding, 2);
        let mut meter = Meter::default();
        meter.charge(&rpm, 0, 1, 1, false);
        meter.charge(&rpm, 20 * S, 2, 1, false);
        assert_eq!(meter.wait(&rpm, 30 * S, 1), 30 * S);
        assert_eq!(meter.wait(&rpm, 60 * S - 1, 1), 1);
        assert_eq!(meter.wait(&rpm, 60 * S, 1), 0);
        assert_eq!(meter.wait(&rpm, 60 * S, 2), 20 * S);
        assert_eq!(meter.until_full(&rpm, 60 * S), 20 * S);
    }

    #[test]
    fn a_bucket_computes_the_waits_that_groq_names() {
        let tpm = limit(LimitName::Tpm, WindowKind::Bucket, 8_000);
        let mut meter = Meter::default();
        meter.charge(&tpm, 0, 1, 2_591, false);
        assert_eq!(meter.wait(&tpm, 0, 5_863), 3_405_000);
        let rpm = limit(LimitName::Rpm, WindowKind::Bucket, 30);
        let mut meter = Meter::default();
        meter.charge(&rpm, 0, 1, 30, false);
        assert_eq!(meter.wait(&rpm, 0, 1), 2 * S);
        let rpd = limit(LimitName::Rpd, WindowKind::Bucket, 1_000);
        let mut meter = Meter::default();
        meter.charge(&rpd, 0, 1, 2, false);
        assert_eq!(meter.until_full(&rpd, 0), 172_800_000);
    }

    #[test]
    fn a_corrected_bucket_does_not_give_back_drained_units() {
        let tpm = limit(LimitName::Tpm, WindowKind::Bucket, 6_000); // 100 a second
        let mut meter = Meter::default();
        meter.charge(&tpm, 0, 1, 1_000, true);
        meter.charge(&tpm, 9 * S, 2, 500, true);
        assert!((meter.used(&tpm, 9 * S) - 600.0).abs() < 1e-6);
        meter.correct(&tpm, 1, 100); // it has drained after one second, so only the second charge is left
        assert!((meter.used(&tpm, 9 * S) - 500.0).abs() < 1e-6);
        meter.correct(&tpm, 2, 200);
        assert!((meter.used(&tpm, 10 * S) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn a_clock_minute_is_empty_at_its_start() {
        let rpm = limit(LimitName::Rpm, WindowKind::Clock, 5);
        let mut meter = Meter::default();
        meter.charge(&rpm, 119 * S, 1, 5, false);
        assert_eq!(meter.wait(&rpm, 119 * S, 1), S);
        meter.charge(&rpm, 120 * S, 2, 5, false);
        assert_eq!(meter.wait(&rpm, 121 * S, 1), 59 * S);
        assert_eq!(meter.periods().values().max(), Some(&5));
    }

    #[test]
    fn a_day_ends_at_the_zones_midnight_and_dst_makes_it_23_hours() {
        let mut rpd = limit(LimitName::Rpd, WindowKind::Calendar, 20);
        rpd.zone = TimeZone::get("America/Los_Angeles").unwrap();
        let us = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        let (start, end) = rpd.period(us("2026-03-08T12:00:00Z"));
        assert_eq!(start, us("2026-03-08T08:00:00Z"));
        assert_eq!(end, us("2026-03-09T07:00:00Z"));
        let mut meter = Meter::default();
        meter.charge(&rpd, us("2026-03-09T06:59:59Z"), 1, 20, true);
        assert_eq!(meter.wait(&rpd, us("2026-03-09T06:59:59Z"), 1), S);
        assert_eq!(meter.wait(&rpd, us("2026-03-09T07:00:00Z"), 1), 0);
        meter.correct(&rpd, 1, 3);
        assert_eq!(meter.periods().values().copied().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_month_ends_on_the_first() {
        let mut month = limit(LimitName::Rpmonth, WindowKind::Calendar, 1);
        month.zone = TimeZone::posix("XYZ3:30").unwrap();
        let us = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        assert_eq!(month.period(us("2026-02-10T00:00:00Z")).1, us("2026-03-01T03:30:00Z"));
    }
}
