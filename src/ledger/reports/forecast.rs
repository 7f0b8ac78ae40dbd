//! Who uses a window, and when it will be used up at the present pace: out of the roll-ups of attempts.

use std::collections::HashMap;

use crate::domain::{
    Charge, Unit, Window, WindowKind,
    time::{DAY_MS, HOUR_MS},
};
use crate::ledger::{
    error::LedgerError,
    reports::{
        budget::WindowReport,
        rollup::{AttemptUsage, GroupBy, Rollup, Step, split_name},
    },
    shared::Ledger,
};

/// The longest span that is told by minutes, and by hours.
const MINUTES_MOST_MS: i64 = 2 * HOUR_MS;
const HOURS_MOST_MS: i64 = 48 * HOUR_MS;
/// The months of a calendar have a day more than the nominal span, and each end may cut a day.
const SPARE_MS: i64 = 2 * DAY_MS;
/// Clients named for one window.
const USERS_MOST: usize = 20;

/// One client's part of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientShare {
    pub client: String,
    pub units: i64,
}

/// Where the present pace leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// `None`: never, or not before it is refilled.
    pub exhausted_ms: Option<i64>,
    pub pace_per_hour: f64,
}

type Of = HashMap<String, Vec<(i64, AttemptUsage)>>;

/// What clients took of every account, and of every account and model, for as long as the windows at hand remember.
#[derive(Debug, Default)]
pub struct UsageHistory {
    /// By step, by `provider/account` and `provider/account/model`, by client: starts and what was taken.
    taken: HashMap<(Step, String), Of>,
    now_ms: i64,
}

/// Which roll-ups tell of a span.
fn step_of(span_ms: i64) -> Step {
    if span_ms <= MINUTES_MOST_MS {
        Step::Minute
    } else if span_ms <= HOURS_MOST_MS {
        Step::Hour
    } else {
        Step::Day
    }
}

impl Ledger {
    /// As far back as these windows remember.
    pub async fn usage_history<'a>(
        &self,
        windows: impl Iterator<Item = &'a Window>,
    ) -> Result<UsageHistory, LedgerError> {
        let now_ms = self.now_ms();
        // The pace is always told, from the last hours.
        let mut back_ms = HashMap::from([(Step::Hour, HOUR_MS)]);
        for window in windows.filter(|w| w.kind != WindowKind::Concurrency) {
            let spare_ms = if window.span_ms > HOURS_MOST_MS { SPARE_MS } else { 0 };
            let back = back_ms.entry(step_of(window.span_ms)).or_insert(0);
            *back = (*back).max(window.span_ms + spare_ms);
        }
        let mut uses = UsageHistory { now_ms, ..UsageHistory::default() };
        for (step, back_ms) in back_ms {
            for rollup in self.rollups(step, GroupBy::Window, (now_ms - back_ms, now_ms), &[]).await? {
                uses.take_in(step, rollup);
            }
        }
        Ok(uses)
    }
}

impl UsageHistory {
    fn take_in(&mut self, step: Step, rollup: Rollup) {
        for (name, numbers) in rollup.names {
            let (client, subject) = split_name(&name);
            let taken = AttemptUsage::read(&numbers);
            let account = subject.match_indices('/').nth(1).map_or(subject, |(at, _)| &subject[..at]);
            for of in [subject, account] {
                let of = self.taken.entry((step, of.to_owned())).or_default();
                of.entry(client.to_owned()).or_default().push((rollup.start_ms, taken));
            }
        }
    }

    /// Who took what is in this window, the most first. Roll-ups are whole minutes, hours or days: where they hold more
    /// than the window does, each client's part is cut alike.
    pub fn top_clients(&self, subject: &str, stand: &WindowReport) -> Vec<ClientShare> {
        let window = &stand.window;
        let step = step_of(window.span_ms);
        let Some(clients) = self.taken.get(&(step, subject.to_owned())) else { return Vec::new() };
        let from = step.start(self.began(stand));
        let units = clients.iter().map(|(client, taken)| {
            let units: i64 = taken.iter().filter(|(at, _)| *at >= from).map(|(_, taken)| units(window, taken)).sum();
            ClientShare { client: client.clone(), units }
        });
        let mut users: Vec<ClientShare> = units.filter(|user| user.units > 0).collect();
        let all: i64 = users.iter().map(|user| user.units).sum();
        if all > stand.used {
            for user in &mut users {
                user.units = (user.units * stand.used + all / 2) / all;
            }
            users.retain(|user| user.units > 0);
        }
        users.sort_by(|a, b| b.units.cmp(&a.units).then_with(|| a.client.cmp(&b.client)));
        users.truncate(USERS_MOST);
        users
    }

    /// The earliest instant of which the window still holds something.
    fn began(&self, stand: &WindowReport) -> i64 {
        let window = &stand.window;
        match (window.kind, &window.zone) {
            (WindowKind::Calendar, Some(zone)) => zone.boundaries(window.limit, self.now_ms).last,
            // A level drains as evenly as it is refilled: what is in it came within so long.
            (WindowKind::Bucket, _) => self.now_ms - window.span_ms * stand.used.min(stand.max) / stand.max.max(1),
            _ => self.now_ms - window.span_ms,
        }
    }

    /// Of windows of a day and longer: when they will be used up if the pace of the last hour goes on.
    pub fn forecast(&self, subject: &str, stand: &WindowReport) -> Option<Forecast> {
        let window = &stand.window;
        if window.span_ms < DAY_MS {
            return None;
        }
        let pace = self.pace(subject, window);
        let pace_per_hour = (pace * 10.0).round() / 10.0;
        // What comes back in an hour: a calendar's period gives nothing back before it ends.
        let back = match window.kind {
            WindowKind::Bucket => stand.max as f64,
            WindowKind::Calendar => 0.0,
            _ => stand.used as f64,
        } / (window.span_ms as f64 / HOUR_MS as f64);
        let left = (stand.max - stand.used).max(0) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "cut to the window's life before it is used")]
        let hours_ms = |hours: f64| (hours * HOUR_MS as f64).min(400.0 * DAY_MS as f64) as i64;
        let exhausted_ms = (pace > back).then(|| self.now_ms + hours_ms(left / (pace - back)));
        let exhausted_ms = exhausted_ms.filter(|at| match window.kind {
            WindowKind::Calendar => stand.empty_ms.is_none_or(|empty| *at < empty),
            // Beyond its span what was used has left again.
            _ => *at < self.now_ms + window.span_ms,
        });
        // To the minute: the pace is no better known.
        let exhausted_ms = exhausted_ms.map(|at| Step::Minute.start(at));
        Some(Forecast { exhausted_ms, pace_per_hour })
    }

    /// Units an hour: this hour's, and of the last hour the part that is less than an hour ago.
    fn pace(&self, subject: &str, window: &Window) -> f64 {
        let Some(clients) = self.taken.get(&(Step::Hour, subject.to_owned())) else { return 0.0 };
        let this = Step::Hour.start(self.now_ms);
        let old = 1.0 - (self.now_ms - this) as f64 / HOUR_MS as f64;
        let all = clients.values().flatten().map(|(at, taken)| match *at {
            at if at == this => units(window, taken) as f64,
            at if at == this - HOUR_MS => units(window, taken) as f64 * old,
            _ => 0.0,
        });
        all.sum()
    }
}

/// What a window counts of it.
fn units(window: &Window, taken: &AttemptUsage) -> i64 {
    let AttemptUsage { requests, input, tokens, .. } = *taken;
    if window.limit.unit() == Unit::Slot { 0 } else { Charge { requests, input, tokens }.units(window) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Limit, Scope, Source, TokenCharge};

    const NOW: i64 = 500 * DAY_MS + 10 * HOUR_MS + HOUR_MS / 2;

    fn stand(limit: Limit, kind: WindowKind, max: i64, used: i64) -> WindowReport {
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
        WindowReport { window, max, learned: false, used, opens_ms: NOW, exact: true, empty_ms: None, waiting: 0 }
    }

    fn uses(step: Step, taken: &[(i64, &str, i64)]) -> UsageHistory {
        let mut uses = UsageHistory { now_ms: NOW, ..UsageHistory::default() };
        for (back, client, requests) in taken {
            let name = format!("{client}\tgroq/main/a/b");
            let start_ms = step.start(NOW) - back * step.ms();
            uses.take_in(step, Rollup { start_ms, names: vec![(name, vec![*requests, requests * 10, *requests])] });
        }
        uses
    }

    fn told(users: &[ClientShare]) -> Vec<(&str, i64)> {
        users.iter().map(|user| (user.client.as_str(), user.units)).collect()
    }

    #[test]
    fn who_uses_a_minute_is_told_by_its_minutes_and_never_more_than_is_used() {
        let all = uses(Step::Minute, &[(0, "ann", 7), (1, "bob", 5), (2, "old", 9)]);
        let subject = "groq/main/a/b";
        let told_of = all.top_clients(subject, &stand(Limit::Rpm, WindowKind::Sliding, 30, 12));
        assert_eq!(told(&told_of), [("ann", 7), ("bob", 5)]);
        let told_of = all.top_clients(subject, &stand(Limit::Rpm, WindowKind::Sliding, 30, 6));
        assert_eq!(told(&told_of), [("ann", 4), ("bob", 3)], "cut alike, rounded");
        let told_of = all.top_clients("groq/main", &stand(Limit::Tpm, WindowKind::Sliding, 3_000, 900));
        assert_eq!(told(&told_of), [("ann", 70), ("bob", 50)], "an account holds all its models");
        assert!(all.top_clients(subject, &stand(Limit::Concurrency, WindowKind::Concurrency, 4, 2)).is_empty());
        assert!(all.top_clients("groq/other/a/b", &stand(Limit::Rpm, WindowKind::Sliding, 30, 6)).is_empty());
    }

    #[test]
    fn a_forecast_goes_by_what_comes_back_meanwhile() {
        // Half of the last hour's 100 are less than an hour ago, and 50 came in this one: 100 an hour.
        let uses = uses(Step::Hour, &[(0, "ann", 50), (1, "bob", 100)]);
        let at = |kind, max, used| uses.forecast("groq/main/a/b", &stand(Limit::Rpd, kind, max, used)).unwrap();
        let hours = |forecast: Forecast| forecast.exhausted_ms.map(|ms| (ms - NOW) / HOUR_MS);
        let calendar = at(WindowKind::Calendar, 1_000, 500);
        assert_eq!((calendar.pace_per_hour, hours(calendar)), (100.0, Some(5)));
        // 24 an hour come back: 400 left at 76 an hour.
        assert_eq!(hours(at(WindowKind::Bucket, 576, 176)), Some(5));
        assert_eq!(hours(at(WindowKind::Bucket, 2_400, 0)), None, "it refills as fast");
        assert_eq!(hours(at(WindowKind::Sliding, 2_400, 2_400)), None, "a hundred an hour leave");
        assert!(uses.forecast("groq/main/a/b", &stand(Limit::Rpm, WindowKind::Sliding, 9, 0)).is_none());
        let idle = UsageHistory { now_ms: NOW, ..UsageHistory::default() };
        let idle = idle.forecast("x", &stand(Limit::Rpd, WindowKind::Sliding, 9, 0)).unwrap();
        assert_eq!((idle.pace_per_hour, idle.exhausted_ms), (0.0, None));
    }
}
