//! Which clients use a window, and when it will be exhausted at the present pace: computed from the roll-ups of attempts.

use std::collections::HashMap;

use super::{
    budget::WindowReport,
    rollup::{Rollup, split_name},
    rollup_key::{GroupBy, Step},
    subject::account_of,
};
use crate::{
    domain::{
        Charge, Unit, Window, WindowKind,
        time::{DAY_MS, HOUR_MS},
    },
    ledger::{error::LedgerError, shared::Ledger},
};

/// Spans up to this one are covered by minute roll-ups.
const MAX_BY_MINUTES_MS: i64 = 2 * HOUR_MS;
/// Longer spans up to this one are covered by hour roll-ups.
const MAX_BY_HOURS_MS: i64 = 48 * HOUR_MS;
/// Added to long spans: a calendar month can be a day longer than the nominal span, and each end may cut a day.
const SPARE_MS: i64 = 2 * DAY_MS;
/// Clients listed for one window.
const MAX_CLIENTS: usize = 20;

/// One client's part of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientShare {
    pub client: String,
    pub units: i64,
}

/// The outcome if the present pace continues.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// `None` if the window refills faster, or before it is exhausted.
    pub exhausted_ms: Option<i64>,
    pub pace_per_hour: f64,
}

/// Starts of steps and what was charged in them, by client.
type ByClient = HashMap<String, Vec<(i64, Charge)>>;

/// What each client used of every subject, as far back as the windows reach.
#[derive(Debug, Default)]
pub struct UsageHistory {
    /// By step, and by `provider/account` and `provider/account/model`.
    by_subject: HashMap<(Step, String), ByClient>,
    now_ms: i64,
}

/// The step of the roll-ups that cover a span.
fn step_for(span_ms: i64) -> Step {
    if span_ms <= MAX_BY_MINUTES_MS {
        Step::Minute
    } else if span_ms <= MAX_BY_HOURS_MS {
        Step::Hour
    } else {
        Step::Day
    }
}

impl Ledger {
    /// The usage history, as far back as these windows reach.
    pub async fn usage_history<'a>(
        &self,
        windows: impl Iterator<Item = &'a Window>,
    ) -> Result<UsageHistory, LedgerError> {
        let now_ms = self.now_ms();
        // The pace always needs the last hours.
        let mut back_ms = HashMap::from([(Step::Hour, HOUR_MS)]);
        for window in windows.filter(|w| w.kind != WindowKind::Concurrency) {
            let spare_ms = if window.span_ms > MAX_BY_HOURS_MS { SPARE_MS } else { 0 };
            let back = back_ms.entry(step_for(window.span_ms)).or_insert(0);
            *back = (*back).max(window.span_ms + spare_ms);
        }
        let mut history = UsageHistory { now_ms, ..UsageHistory::default() };
        for (step, back_ms) in back_ms {
            for rollup in self.rollups(step, GroupBy::Window, (now_ms - back_ms, now_ms), &[]).await? {
                history.add(step, rollup);
            }
        }
        Ok(history)
    }
}

impl UsageHistory {
    fn add(&mut self, step: Step, rollup: Rollup) {
        for (name, numbers) in rollup.names {
            let (client, subject) = split_name(&name);
            let at = |column: usize| numbers.get(column).copied().unwrap_or(0);
            let charge = Charge { requests: at(0), tokens: at(1), input: at(2), audio: at(3) };
            for subject in [subject, account_of(subject)] {
                let clients = self.by_subject.entry((step, subject.to_owned())).or_default();
                clients.entry(client.to_owned()).or_default().push((rollup.start_ms, charge));
            }
        }
    }

    /// The clients that used most of this window. Roll-ups cover whole minutes, hours or days: if they contain more than
    /// the window does, every client's part is reduced in proportion.
    pub fn top_clients(&self, subject: &str, report: &WindowReport) -> Vec<ClientShare> {
        let window = &report.window;
        let step = step_for(window.span_ms);
        let Some(clients) = self.by_subject.get(&(step, subject.to_owned())) else { return Vec::new() };
        let from = step.start(self.window_start(report));
        let shares = clients.iter().map(|(client, charges)| {
            let recent = charges.iter().filter(|(at, _)| *at >= from);
            ClientShare { client: client.clone(), units: recent.map(|(_, charge)| units(window, charge)).sum() }
        });
        let mut shares: Vec<ClientShare> = shares.filter(|share| share.units > 0).collect();
        let all: i64 = shares.iter().map(|share| share.units).sum();
        if all > report.used {
            for share in &mut shares {
                share.units = (share.units * report.used + all / 2) / all;
            }
            shares.retain(|share| share.units > 0);
        }
        shares.sort_by(|a, b| b.units.cmp(&a.units).then_with(|| a.client.cmp(&b.client)));
        shares.truncate(MAX_CLIENTS);
        shares
    }

    /// The earliest instant whose charges the window still counts.
    fn window_start(&self, report: &WindowReport) -> i64 {
        let window = &report.window;
        match (window.kind, &window.zone) {
            (WindowKind::Calendar, Some(zone)) => zone.boundaries(window.limit, self.now_ms).last,
            // A bucket drains at a constant rate, so its level shows when the oldest unit was charged.
            (WindowKind::Bucket, _) => self.now_ms - window.span_ms * report.used.min(report.max) / report.max.max(1),
            _ => self.now_ms - window.span_ms,
        }
    }

    /// For windows of a day and longer: when they will be exhausted if the pace of the last hour continues.
    pub fn forecast(&self, subject: &str, report: &WindowReport) -> Option<Forecast> {
        let window = &report.window;
        if window.span_ms < DAY_MS {
            return None;
        }
        let pace = self.pace_per_hour(subject, window);
        // Units that the window gives back. A calendar window gives nothing back before its period ends.
        let refill = match window.kind {
            WindowKind::Bucket => report.max as f64,
            WindowKind::Calendar => 0.0,
            _ => report.used as f64,
        } / (window.span_ms as f64 / HOUR_MS as f64);
        let left = (report.max - report.used).max(0) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "cut to 400 days")]
        let hours_ms = |hours: f64| (hours * HOUR_MS as f64).min(400.0 * DAY_MS as f64) as i64;
        let exhausted_ms = (pace > refill).then(|| self.now_ms + hours_ms(left / (pace - refill)));
        let exhausted_ms = exhausted_ms.filter(|at| match window.kind {
            WindowKind::Calendar => report.empty_ms.is_none_or(|empty| *at < empty),
            // After a full span everything that is used now has left again.
            _ => *at < self.now_ms + window.span_ms,
        });
        // The pace is too coarse for more than whole minutes.
        let exhausted_ms = exhausted_ms.map(|at| Step::Minute.start(at));
        Some(Forecast { exhausted_ms, pace_per_hour: (pace * 10.0).round() / 10.0 })
    }

    /// Units of this hour, and of the previous one the part that is less than an hour ago.
    fn pace_per_hour(&self, subject: &str, window: &Window) -> f64 {
        let Some(clients) = self.by_subject.get(&(Step::Hour, subject.to_owned())) else { return 0.0 };
        let hour = Step::Hour.start(self.now_ms);
        let previous_share = 1.0 - (self.now_ms - hour) as f64 / HOUR_MS as f64;
        let units = clients.values().flatten().map(|(at, charge)| match *at {
            at if at == hour => units(window, charge) as f64,
            at if at == hour - HOUR_MS => units(window, charge) as f64 * previous_share,
            _ => 0.0,
        });
        units.sum()
    }
}

fn units(window: &Window, charge: &Charge) -> i64 {
    if window.limit.unit() == Unit::Slot { 0 } else { charge.units(window) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Limit, Scope, Source, TokenCharge};

    const NOW: i64 = 500 * DAY_MS + 10 * HOUR_MS + HOUR_MS / 2;

    fn report(limit: Limit, kind: WindowKind, max: i64, used: i64) -> WindowReport {
        let window = Window {
            limit,
            kind,
            max,
            span_ms: limit.span_ms(),
            scope: Scope::Model,
            charge: TokenCharge::Reserve,
            zone: None,
            source: Source::Catalogue,
        };
        WindowReport { window, max, learned: None, used, opens_ms: NOW, exact: true, empty_ms: None, waiting: 0 }
    }

    fn history(step: Step, requests: &[(i64, &str, i64)]) -> UsageHistory {
        let mut history = UsageHistory { now_ms: NOW, ..UsageHistory::default() };
        for (back, client, requests) in requests {
            let name = format!("{client}\tgroq/main/a/b");
            let start_ms = step.start(NOW) - back * step.ms();
            history.add(step, Rollup { start_ms, names: vec![(name, vec![*requests, requests * 10, *requests])] });
        }
        history
    }

    fn pairs(shares: &[ClientShare]) -> Vec<(&str, i64)> {
        shares.iter().map(|share| (share.client.as_str(), share.units)).collect()
    }

    #[test]
    fn clients_of_a_minute_window_come_from_minutes_and_never_exceed_what_is_used() {
        let all = history(Step::Minute, &[(0, "ann", 7), (1, "bob", 5), (2, "old", 9)]);
        let subject = "groq/main/a/b";
        let top = all.top_clients(subject, &report(Limit::Rpm, WindowKind::Sliding, 30, 12));
        assert_eq!(pairs(&top), [("ann", 7), ("bob", 5)]);
        let top = all.top_clients(subject, &report(Limit::Rpm, WindowKind::Sliding, 30, 6));
        assert_eq!(pairs(&top), [("ann", 4), ("bob", 3)], "reduced in proportion, rounded");
        let top = all.top_clients("groq/main", &report(Limit::Tpm, WindowKind::Sliding, 3_000, 900));
        assert_eq!(pairs(&top), [("ann", 70), ("bob", 50)], "an account includes all its models");
        assert!(all.top_clients(subject, &report(Limit::Concurrency, WindowKind::Concurrency, 4, 2)).is_empty());
        assert!(all.top_clients("groq/other/a/b", &report(Limit::Rpm, WindowKind::Sliding, 30, 6)).is_empty());
    }

    #[test]
    fn seconds_of_sound_have_shares_and_a_forecast() {
        let mut history = UsageHistory { now_ms: NOW, ..UsageHistory::default() };
        for (client, seconds) in [("ann", 900), ("bob", 300)] {
            let names = vec![(format!("{client}\tgroq/main/whisper"), vec![3, 0, 0, seconds])];
            history.add(Step::Hour, Rollup { start_ms: Step::Hour.start(NOW), names });
        }
        let report = report(Limit::Asd, WindowKind::Calendar, 28_800, 1_200);
        let subject = "groq/main/whisper";
        assert_eq!(pairs(&history.top_clients(subject, &report)), [("ann", 900), ("bob", 300)]);
        let pace = history.forecast(subject, &report).unwrap().pace_per_hour;
        assert!((pace - 1_200.0).abs() < 1e-6, "{pace}");
    }

    #[test]
    fn a_forecast_includes_what_the_window_gives_back_meanwhile() {
        // Half of the previous hour's 100 are less than an hour ago, and 50 came in this hour: 100 an hour.
        let history = history(Step::Hour, &[(0, "ann", 50), (1, "bob", 100)]);
        let at = |kind, max, used| history.forecast("groq/main/a/b", &report(Limit::Rpd, kind, max, used)).unwrap();
        let hours = |forecast: Forecast| forecast.exhausted_ms.map(|ms| (ms - NOW) / HOUR_MS);
        let calendar = at(WindowKind::Calendar, 1_000, 500);
        assert_eq!((calendar.pace_per_hour, hours(calendar)), (100.0, Some(5)));
        // 24 units an hour come back: 400 are left at 76 an hour.
        assert_eq!(hours(at(WindowKind::Bucket, 576, 176)), Some(5));
        assert_eq!(hours(at(WindowKind::Bucket, 2_400, 0)), None, "it refills as fast");
        assert_eq!(hours(at(WindowKind::Sliding, 2_400, 2_400)), None, "a hundred an hour leave");
        assert!(history.forecast("groq/main/a/b", &report(Limit::Rpm, WindowKind::Sliding, 9, 0)).is_none());
        let idle = UsageHistory { now_ms: NOW, ..UsageHistory::default() };
        let idle = idle.forecast("x", &report(Limit::Rpd, WindowKind::Sliding, 9, 0)).unwrap();
        assert_eq!((idle.pace_per_hour, idle.exhausted_ms), (0.0, None));
    }
}
