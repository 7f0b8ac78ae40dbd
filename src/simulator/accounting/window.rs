//! One limit of one account: the provider's own count, and the audit's beside it.

use crate::simulator::{
    accounting::audit::WindowReport,
    accounting::limit::{Counts, WindowKind},
    accounting::meter::{Limit, Meter, float},
};

/// The units that a request charges.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Units {
    /// Tokens debited before the call; 0 where the provider charges afterwards.
    pub tokens: i64,
    /// Prompt tokens.
    pub input: i64,
    /// Seconds of sound.
    pub sound: i64,
}

/// A limit without room for a request.
#[derive(Debug, Clone)]
pub(crate) struct LimitHit {
    pub limit: Limit,
    /// Units in the window, rounded up.
    pub used: i64,
    pub requested: i64,
    pub wait_us: i64,
    pub reason: HitReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HitReason {
    /// There is room after the wait.
    Full,
    /// The request exceeds the whole window.
    Wall,
    /// The limit is 0, so the model is not on the plan.
    Zero,
}

/// A window in the headers of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitStatus {
    pub name: crate::simulator::accounting::limit::LimitName,
    pub max: i64,
    pub remaining: i64,
    pub until_full_us: i64,
    /// Time until one more unit fits.
    pub next_us: i64,
}

/// A limit and its counts.
#[derive(Debug)]
pub(crate) struct Window {
    pub limit: Limit,
    /// The provider's count, which it enforces.
    counted: Meter,
    /// Every call that arrived, including refused ones; only of request windows.
    seen: Meter,
    /// The same units in a sliding window, for every kind.
    spans: Meter,
    total: i64,
    most: f64,
    most_admitted: f64,
    most_in_any_span: f64,
}

impl Window {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            counted: Meter::default(),
            seen: Meter::default(),
            spans: Meter::default(),
            total: 0,
            most: 0.0,
            most_admitted: 0.0,
            most_in_any_span: 0.0,
        }
    }

    /// Keeps the counts under a changed limit.
    #[must_use]
    pub(crate) fn with_limit(mut self, limit: &Limit) -> Self {
        self.limit = limit.clone();
        self
    }

    fn units(&self, units: Units) -> i64 {
        match self.limit.name.counts() {
            Counts::Requests => 1,
            Counts::Tokens => units.tokens,
            Counts::Input => units.input,
            Counts::Sound => units.sound,
            Counts::Calls => 0,
        }
    }

    fn counts_requests(&self) -> bool {
        self.limit.name.counts() == Counts::Requests
    }

    fn as_spans(&self) -> Limit {
        Limit { kind: WindowKind::Sliding, ..self.limit.clone() }
    }

    /// Checks for room. `later` means that tokens are debited after the call, so that any room suffices.
    pub(crate) fn check(&mut self, now: i64, units: Units, later: bool) -> Result<(), LimitHit> {
        let requested = match self.limit.name.counts() {
            Counts::Tokens if later => 1,
            Counts::Calls => return Ok(()),
            _ => self.units(units),
        };
        let reason = match () {
            () if self.limit.max == 0 => HitReason::Zero,
            () if requested > self.limit.max => HitReason::Wall,
            () => HitReason::Full,
        };
        let wait_us =
            if reason == HitReason::Full { self.counted.wait(&self.limit, now, requested) } else { 60_000_000 };
        if wait_us == 0 {
            return Ok(());
        }
        let used = ceiling(self.counted.used(&self.limit, now));
        Err(LimitHit { limit: self.limit.clone(), used, requested, wait_us, reason })
    }

    /// Counts an arrival in the audit, before the call is admitted or refused.
    pub(crate) fn arrived(&mut self, now: i64, id: u64, units: Units) {
        let units = self.units(units);
        let spans = self.as_spans();
        if self.counts_requests() {
            self.seen.charge(&self.limit, now, id, units, false);
            self.most = self.most.max(self.seen.used(&self.limit, now));
            self.spans.charge(&spans, now, id, units, false);
            self.most_in_any_span = self.most_in_any_span.max(self.spans.used(&spans, now));
        } else {
            self.most = self.most.max(self.counted.used(&self.limit, now) + float(units));
            self.most_in_any_span = self.most_in_any_span.max(self.spans.used(&spans, now) + float(units));
        }
    }

    /// Charges units. `open` charges of tokens can be corrected by [`Window::correct`].
    pub(crate) fn charge(&mut self, now: i64, id: u64, units: Units, open: bool) {
        let open = open && self.limit.name.counts() == Counts::Tokens;
        let units = self.units(units);
        if units > 0 {
            self.put(now, id, units, open);
        }
    }

    /// Replaces the tokens of a charge at its own time.
    pub(crate) fn correct(&mut self, now: i64, id: u64, units: i64) {
        if self.limit.name.counts() != Counts::Tokens {
            return;
        }
        self.counted.correct(&self.limit, id, units);
        let spans = self.as_spans();
        self.spans.correct(&spans, id, units);
        self.watch(now);
    }

    /// Makes a charge final.
    pub(crate) fn close(&mut self, id: u64) {
        self.counted.close(id);
        self.spans.close(id);
    }

    /// Debits tokens at the end of a call.
    pub(crate) fn debit(&mut self, now: i64, id: u64, units: i64) {
        if self.limit.name.counts() == Counts::Tokens {
            self.put(now, id, units, false);
        }
    }

    fn put(&mut self, now: i64, id: u64, units: i64, open: bool) {
        self.counted.charge(&self.limit, now, id, units, open);
        self.total += units;
        if !self.counts_requests() {
            let spans = self.as_spans();
            self.spans.charge(&spans, now, id, units, open);
        }
        self.watch(now);
    }

    fn watch(&mut self, now: i64) {
        let used = self.counted.used(&self.limit, now);
        self.most_admitted = self.most_admitted.max(used);
        if !self.counts_requests() {
            let spans = self.as_spans();
            self.most = self.most.max(used);
            self.most_in_any_span = self.most_in_any_span.max(self.spans.used(&spans, now));
        }
    }

    pub(crate) fn status(&mut self, now: i64) -> LimitStatus {
        let used = ceiling(self.counted.used(&self.limit, now));
        LimitStatus {
            name: self.limit.name,
            max: self.limit.max,
            remaining: (self.limit.max - used).max(0),
            until_full_us: self.counted.until_full(&self.limit, now),
            next_us: if self.limit.max == 0 { 0 } else { self.counted.wait(&self.limit, now, 1) },
        }
    }

    pub(crate) fn report(&mut self, now: i64) -> WindowReport {
        WindowReport {
            kind: self.limit.kind.as_str(),
            limit: self.limit.max,
            units: self.total,
            now: self.counted.used(&self.limit, now),
            most: self.most,
            over: (self.most - float(self.limit.max)).max(0.0),
            most_admitted: self.most_admitted,
            most_in_any_span: self.most_in_any_span,
            periods: self.counted.periods().iter().map(|(start, units)| (start / 1_000, *units)).collect(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counts are far below 2^53")]
fn ceiling(used: f64) -> i64 {
    (used - 1e-6).ceil() as i64
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::simulator::accounting::limit::LimitName;

    const S: i64 = 1_000_000;

    fn window(name: LimitName, kind: WindowKind, max: i64) -> Window {
        Window::new(Limit { name, kind, max, zone: TimeZone::UTC })
    }

    #[test]
    fn the_audit_counts_refused_calls() {
        let mut rpm = window(LimitName::Rpm, WindowKind::Sliding, 2);
        for id in 0..3 {
            rpm.arrived(0, id, Units::default());
            if rpm.check(0, Units::default(), false).is_ok() {
                rpm.charge(0, id, Units::default(), false);
            }
        }
        let report = rpm.report(0);
        assert_eq!((report.units, report.most, report.over, report.most_admitted), (2, 3.0, 1.0, 2.0));
    }

    #[test]
    fn a_bucket_may_admit_more_in_a_span_than_its_capacity_and_both_are_reported() {
        let mut rpm = window(LimitName::Rpm, WindowKind::Bucket, 30);
        for id in 0..30 {
            rpm.arrived(0, id, Units::default());
            rpm.charge(0, id, Units::default(), false);
        }
        for step in 1..=15 {
            let now = 2 * S * step;
            rpm.arrived(now, 100, Units::default());
            rpm.charge(now, 100, Units::default(), false);
        }
        let report = rpm.report(30 * S);
        assert!((report.most - 30.0).abs() < 1e-6 && report.over < 1e-6);
        assert!((report.most_in_any_span - 45.0).abs() < 1e-6);
    }

    #[test]
    fn later_debits_admit_calls_while_any_room_is_left() {
        let mut tpm = window(LimitName::Tpm, WindowKind::Sliding, 100);
        assert!(tpm.check(0, Units { tokens: 0, input: 90, sound: 0 }, true).is_ok());
        tpm.debit(0, 1, 99);
        assert!(tpm.check(S, Units::default(), true).is_ok());
        tpm.debit(S, 2, 50);
        let hit = tpm.check(2 * S, Units::default(), true).unwrap_err();
        assert_eq!((hit.used, hit.wait_us), (149, 58 * S));
        assert!((tpm.report(2 * S).over - 49.0).abs() < 1e-6);
    }

    #[test]
    fn a_request_above_the_limit_hits_a_wall_and_a_limit_of_zero_never_opens() {
        let mut tpm = window(LimitName::Tpm, WindowKind::Bucket, 8_000);
        assert_eq!(
            tpm.check(0, Units { tokens: 8_001, input: 1, sound: 0 }, false).unwrap_err().reason,
            HitReason::Wall
        );
        let mut rpd = window(LimitName::Rpd, WindowKind::Calendar, 0);
        assert_eq!(rpd.check(0, Units::default(), false).unwrap_err().reason, HitReason::Zero);
    }
}
