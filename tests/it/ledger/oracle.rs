//! An independent oracle: the provider's count, computed naively from the list of all calls, without code of the scripts.

use jiff::{Timestamp, tz::TimeZone};

/// One charge of one window at its provider. Instants are in µs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub at: i64,
    /// Units debited on arrival.
    pub units: i64,
    /// End of the reply; `i64::MAX` if it never ended.
    pub ended: i64,
    /// Units after the correction at its end.
    pub used: i64,
}

impl Count {
    fn holds(&self, t: i64) -> i64 {
        if self.ended <= t { self.used } else { self.units }
    }
}

/// The most units in any (t − span, t] at the arrival of a call.
pub(super) fn most_in_any_span(counts: &[Count], span_us: i64) -> i64 {
    let mut sorted = counts.to_vec();
    sorted.sort_by_key(|c| c.at);
    let (mut most, mut first) = (0, 0);
    for last in 0..sorted.len() {
        let t = sorted[last].at;
        while sorted[first].at <= t - span_us {
            first += 1;
        }
        most = most.max(sorted[first..=last].iter().map(|c| c.holds(t)).sum());
    }
    most
}

/// The most units in a clock window of this phase.
pub(super) fn most_in_clock_windows(counts: &[Count], span_us: i64, phase_us: i64) -> i64 {
    let mut sums = std::collections::BTreeMap::new();
    for c in counts {
        *sums.entry((c.at - phase_us).div_euclid(span_us)).or_insert(0) += c.used.min(c.units);
    }
    sums.into_values().max().unwrap_or(0)
}

/// The most units in any sliding span, debited when replies end.
pub(super) fn most_debited_in_any_span(counts: &[Count], span_us: i64) -> i64 {
    let debits: Vec<Count> =
        counts.iter().map(|c| Count { at: c.ended.max(c.at), units: c.used, ended: i64::MAX, used: c.used }).collect();
    most_in_any_span(&debits, span_us)
}

/// How a bucket returns the units that a reply did not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credit {
    /// Subtracts them from the level when the reply ends.
    AtEnd,
    /// Recomputes the level as if only the used units had been charged.
    Recount,
}

/// The largest overflow of a bucket of `max` units, drained at max/span, at the arrival of a call.
pub(super) fn bucket_overflow(counts: &[Count], max: i64, span_us: i64, credit: Credit) -> f64 {
    let rate = max as f64 / span_us as f64;
    let mut events: Vec<(i64, usize, bool)> = Vec::new();
    for (i, c) in counts.iter().enumerate() {
        events.push((c.at, i, true));
        if c.ended < i64::MAX && c.used != c.units {
            events.push((c.ended.max(c.at), i, false));
        }
    }
    // A call that arrives at the instant of an end was admitted because of it.
    events.sort_by_key(|(at, _, arrives)| (*at, *arrives));
    let mut worst = f64::MIN;
    if credit == Credit::AtEnd {
        let (mut level, mut last) = (0.0_f64, i64::MIN);
        for (at, i, arrives) in events {
            if last > i64::MIN {
                level = (level - rate * (at - last) as f64).max(0.0);
            }
            last = at;
            if arrives {
                level += counts[i].units as f64;
                worst = worst.max(level - max as f64);
            } else {
                level = (level + (counts[i].used - counts[i].units) as f64).max(0.0);
            }
        }
        return worst;
    }
    let mut sorted = counts.to_vec();
    sorted.sort_by_key(|c| c.at);
    for (n, now) in sorted.iter().enumerate() {
        let (mut level, mut last) = (0.0_f64, now.at);
        for c in &sorted[..=n] {
            level = (level - rate * (c.at - last).max(0) as f64).max(0.0) + c.holds(now.at) as f64;
            last = c.at;
        }
        worst = worst.max(level - max as f64);
    }
    worst
}

/// The most units in a day that ends at the zone's midnight, by a clock that is `off_us` ahead of ours.
pub(super) fn most_in_a_day(counts: &[Count], zone: &str, off_us: i64) -> i64 {
    let tz = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).unwrap() };
    let mut sums = std::collections::BTreeMap::new();
    for c in counts {
        let day = Timestamp::from_microsecond(c.at + off_us).unwrap().to_zoned(tz.clone()).date();
        *sums.entry(day).or_insert(0) += c.used.min(c.units);
    }
    sums.into_values().max().unwrap_or(0)
}

/// The most calls in flight at one instant. A call is in flight from its arrival until just before its end.
pub(super) fn most_open(counts: &[Count]) -> i64 {
    let open = |t: i64| counts.iter().filter(|c| c.at <= t && t < c.ended).count();
    counts.iter().map(|c| i64::try_from(open(c.at)).unwrap()).max().unwrap_or(0)
}
