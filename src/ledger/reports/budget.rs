//! The exact state of every window, for display: `lua/reports/budget.lua`, called in small parts so that no admission waits long.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

pub use super::subject::subject;
use super::{journal::Totals, subject::account_of};
use crate::{
    domain::{Scope, Window},
    ledger::{
        admission::heartbeat::REPLICA_TIMEOUT_MS,
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            keys::Key,
            scripts::Script,
        },
        shared::Ledger,
    },
};

/// Windows per call, which takes under a millisecond when all of them are in use.
const BATCH: usize = 24;

/// The state of one window.
/// When and by what a limit was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    pub at_ms: Option<i64>,
    pub from: LearnedFrom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearnedFrom {
    /// By an earlier version.
    Unknown,
    /// The headers of an answer named it.
    Answer,
    Refusal,
    /// A refusal named no limit: it is what the window had then.
    Ceiling,
}

#[derive(Debug, Clone)]
pub struct WindowReport {
    pub window: Window,
    /// The limit in force: learned, or as configured.
    pub max: i64,
    /// How the limit was learned, if it was.
    pub learned: Option<Learned>,
    pub used: i64,
    /// When one more unit fits, by the ledger's clock. An instant that has passed means now.
    pub opens_ms: i64,
    /// False if a slot or an unsettled charge decides: then `opens_ms` is an estimate.
    pub exact: bool,
    /// When the window will be empty, if that is known.
    pub empty_ms: Option<i64>,
    /// Units of the requests that wait for this window.
    pub waiting: i64,
}

/// The state of the whole pool.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    pub now_ms: i64,
    /// Replicas whose last heartbeat is recent.
    pub replicas: i64,
    pub totals: Totals,
    /// Requests in the wait queue.
    pub waiting: i64,
    /// By `provider/account` for windows over all its models, by `provider/account/model` for the others.
    pub windows: HashMap<String, Vec<WindowReport>>,
}

/// The windows of one subject.
struct Group {
    subject: String,
    keys: Vec<Key>,
    encoded: Bytes,
    windows: Vec<Window>,
}

impl Ledger {
    pub async fn budget(&self) -> Result<Budget, LedgerError> {
        // The first call may have set the clock by which the calendar boundaries are computed.
        match self.budget_once().await? {
            Some(budget) => Ok(budget),
            None => self.budget_once().await?.ok_or_else(|| malformed("its clock contradicts the calendar")),
        }
    }

    async fn budget_once(&self) -> Result<Option<Budget>, LedgerError> {
        let mut budget = Budget::default();
        let groups = self.groups();
        let mut rest = &groups[..];
        // The first call is made even without any window, for the totals.
        loop {
            let mut count = 0;
            let fitting = rest.iter().take_while(|group| {
                count += group.windows.len();
                count <= BATCH
            });
            let (batch, later) = rest.split_at(fitting.count().max(1).min(rest.len()));
            if !self.add_windows(batch, &mut budget).await? {
                return Ok(None);
            }
            if later.is_empty() {
                return Ok(Some(budget));
            }
            rest = later;
        }
    }

    /// Adds the state of some windows. False if the calendar boundaries were out of range; the clock is set by then.
    async fn add_windows(&self, groups: &[Group], budget: &mut Budget) -> Result<bool, LedgerError> {
        let shared = &self.shared;
        let mut keys = vec![shared.keys.meta(), shared.keys.health(), shared.keys.replicas(), shared.keys.totals()];
        keys.extend(shared.keys.queue().into_iter().next());
        keys.extend(groups.iter().flat_map(|group| group.keys.iter().cloned()));
        let mut args = vec![shared.slack_ms.clone(), encode::number(REPLICA_TIMEOUT_MS)];
        args.extend(groups.iter().map(|group| group.encoded.clone()));
        let reply = shared.run(&ScriptCall { script: Script::Budget, keys, args }).await?;
        let Reply::List(items) = &reply else { return Err(LedgerError::unexpected("budget", &reply)) };
        let numbers = items.iter().map(|item| if let Reply::Int(n) = item { Some(*n) } else { None });
        let numbers: Option<Vec<i64>> = numbers.collect();
        let numbers = numbers.ok_or_else(|| malformed("an item is not a number"))?;
        if let [-3, now_ms] = numbers[..] {
            shared.epoch().set_time(now_ms);
            return Ok(false);
        }
        let [now_ms, replicas, requests, successes, failures, waiting, rest @ ..] = &numbers[..] else {
            return Err(malformed("the totals are incomplete"));
        };
        // Windows go by the clock of the pool, and are shown by the time of day.
        let offset_ms = shared.epoch().offset_ms();
        (budget.now_ms, budget.replicas, budget.waiting) = (*now_ms - offset_ms, *replicas, *waiting);
        budget.totals = Totals { requests: *requests, successes: *successes, failures: *failures };
        let mut reports = rest.as_chunks::<9>().0.iter();
        for group in groups {
            for window in &group.windows {
                let [max, learned, used, opens_ms, exact, empty_ms, waiting, learned_ms, origin] =
                    *reports.next().ok_or_else(|| malformed("windows are missing"))?;
                budget.windows.entry(group.subject.clone()).or_default().push(WindowReport {
                    window: window.clone(),
                    max,
                    learned: (learned == 1).then(|| Learned::new(learned_ms, origin)),
                    used,
                    opens_ms: opens_ms - offset_ms,
                    exact: exact == 1,
                    empty_ms: (empty_ms > 0).then_some(empty_ms - offset_ms),
                    waiting,
                });
            }
        }
        Ok(true)
    }

    fn groups(&self) -> Vec<Group> {
        let catalog = self.shared.catalog.load_full();
        let now_ms = self.now_ms();
        let (mut seen, mut groups) = (HashSet::new(), Vec::new());
        for candidate in &catalog.candidates {
            for scope in [Scope::Account, Scope::Model] {
                let subject = subject(candidate, scope);
                let windows: Vec<Window> = candidate.windows.iter().filter(|w| w.scope == scope).cloned().collect();
                if windows.is_empty() || !seen.insert(subject) {
                    continue;
                }
                let account = account_of(subject);
                let own = if scope == Scope::Model { 'm' } else { 'a' };
                let mut encoded = format!("{own}:{subject}\ta:{account}\t");
                for window in &windows {
                    encode::push_window(&mut encoded, window, 1, now_ms);
                }
                let keys = windows.iter().map(|window| self.shared.keys.window(candidate, window)).collect();
                groups.push(Group { subject: subject.to_owned(), keys, encoded: Bytes::from(encoded), windows });
            }
        }
        groups
    }
}

impl Learned {
    fn new(at_ms: i64, origin: i64) -> Self {
        let from = match origin {
            1 => LearnedFrom::Answer,
            2 => LearnedFrom::Refusal,
            3 => LearnedFrom::Ceiling,
            _ => LearnedFrom::Unknown,
        };
        Self { at_ms: (at_ms > 0).then_some(at_ms), from }
    }
}

fn malformed(what: &str) -> LedgerError {
    LedgerError::Internal(format!("malformed reply of `budget`: {what}"))
}
