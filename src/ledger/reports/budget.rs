//! Where every window stands, to the unit, for people: `lua/reports/budget.lua` in small pieces, so that nobody waits for it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::domain::{Candidate, Scope, Window};
use crate::ledger::{
    admission::heartbeat::SILENT_MS,
    error::LedgerError,
    reports::journal::Totals,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        keys::Key,
        scripts::Script,
    },
    shared::Ledger,
};

/// Windows looked at in one call: under a millisecond when all of them are in use.
const AT_ONCE: usize = 24;

/// One window as it stands.
#[derive(Debug, Clone)]
pub struct WindowReport {
    pub window: Window,
    /// In force: learned, or as configured.
    pub max: i64,
    pub learned: bool,
    pub used: i64,
    /// When one unit more fits, by the ledger's clock; now or before: at once.
    pub opens_ms: i64,
    /// False where a slot or an unsettled charge decides: then it is an estimate.
    pub exact: bool,
    /// When nothing of what is in it counts any more, as far as that is known.
    pub empty_ms: Option<i64>,
    /// Units of those who stand in line for it.
    pub waiting: i64,
}

/// The whole pool.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    pub now_ms: i64,
    /// Replicas whose heartbeat came within the last seconds.
    pub replicas: i64,
    pub totals: Totals,
    /// Requests that stand in line.
    pub waiting: i64,
    /// By `provider/account` for windows over all its models, by `provider/account/model` for the others.
    pub windows: HashMap<String, Vec<WindowReport>>,
}

/// The windows of one account, or of one account and model.
struct Group {
    subject: String,
    keys: Vec<Key>,
    packed: Bytes,
    windows: Vec<Window>,
}

impl Ledger {
    pub async fn budget(&self) -> Result<Budget, LedgerError> {
        // The second time with the calendar's boundaries as the ledger's clock wants them.
        match self.budget_once().await? {
            Some(budget) => Ok(budget),
            None => self.budget_once().await?.ok_or_else(|| strange("its calendar does not agree with its clock")),
        }
    }

    async fn budget_once(&self) -> Result<Option<Budget>, LedgerError> {
        let mut budget = Budget::default();
        let mut groups = self.groups();
        loop {
            let mut count = 0;
            let some = groups.iter().take_while(|group| {
                count += group.windows.len();
                count <= AT_ONCE || count == group.windows.len()
            });
            let rest = groups.split_off(some.count());
            if !self.look_at(&groups, &mut budget).await? {
                return Ok(None);
            }
            if rest.is_empty() {
                return Ok(Some(budget));
            }
            groups = rest;
        }
    }

    /// False: the calendar's boundaries were out of range, and are in it from here on.
    async fn look_at(&self, groups: &[Group], budget: &mut Budget) -> Result<bool, LedgerError> {
        let shared = &self.shared;
        let mut keys = vec![shared.keys.meta(), shared.keys.health(), shared.keys.alive(), shared.keys.totals()];
        keys.extend(shared.keys.waiting_room().into_iter().next());
        keys.extend(groups.iter().flat_map(|group| group.keys.iter().cloned()));
        let mut args = vec![Bytes::from(shared.rules.slack_ms.to_string()), Bytes::from(SILENT_MS.to_string())];
        args.extend(groups.iter().map(|group| group.packed.clone()));
        let reply = shared.run(&ScriptCall { script: Script::Budget, keys, args }).await?;
        let numbers = match &reply {
            Reply::List(items) => items.iter().map(|item| if let Reply::Int(n) = item { Some(*n) } else { None }),
            _ => return Err(strange("it gave no list")),
        };
        let numbers: Vec<i64> = numbers.collect::<Option<_>>().ok_or_else(|| strange("it gave no numbers"))?;
        if let [-3, now_ms] = numbers[..] {
            shared.known().set_clock(now_ms);
            return Ok(false);
        }
        let [now_ms, replicas, requests, successes, failures, waiting, rest @ ..] = &numbers[..] else {
            return Err(strange("it gave too little"));
        };
        (budget.now_ms, budget.replicas, budget.waiting) = (*now_ms, *replicas, *waiting);
        budget.totals = Totals { requests: *requests, successes: *successes, failures: *failures };
        let mut stands = rest.as_chunks::<7>().0.iter();
        for group in groups {
            for window in &group.windows {
                let [max, learned, used, opens_ms, exact, empty_ms, waiting] =
                    stands.next().ok_or_else(|| strange("it left windows out"))?;
                budget.windows.entry(group.subject.clone()).or_default().push(WindowReport {
                    window: window.clone(),
                    max: *max,
                    learned: *learned == 1,
                    used: *used,
                    opens_ms: *opens_ms,
                    exact: *exact == 1,
                    empty_ms: (*empty_ms > 0).then_some(*empty_ms),
                    waiting: *waiting,
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
                if windows.is_empty() || !seen.insert(subject.clone()) {
                    continue;
                }
                let account = format!("a:{}", self::subject(candidate, Scope::Account));
                let model = if scope == Scope::Model { format!("m:{subject}") } else { account.clone() };
                let mut packed = format!("{model}\t{account}\t");
                for window in &windows {
                    encode::push_window(&mut packed, window, 1, now_ms);
                }
                let keys = windows.iter().map(|window| self.shared.keys.window(candidate, window)).collect();
                groups.push(Group { subject, keys, packed: Bytes::from(packed), windows });
            }
        }
        groups
    }
}

/// The name under which a candidate's windows of this scope stand in [`Budget::windows`].
pub fn subject(candidate: &Candidate, scope: Scope) -> String {
    let (provider, account) = (&candidate.provider.id, &candidate.account.id);
    match scope {
        Scope::Account => format!("{provider}/{account}"),
        Scope::Model => format!("{provider}/{account}/{}", candidate.model.id),
    }
}

fn strange(what: &str) -> LedgerError {
    LedgerError::Internal(format!("`budget` answered strangely: {what}"))
}
