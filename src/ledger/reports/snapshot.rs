//! The look at the whole pool, about once a second, for planning and for people. One snapshot serves all replicas.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        keys::Key,
        scripts::Script,
    },
    shared::Ledger,
};
use crate::{
    catalog::Catalog,
    domain::{
        BreakerState, Candidate, Limit, PoolSnapshot, RoutingStrategy, Scope, SubjectSnapshot, Window, WindowLevel,
    },
};

const PERIOD: Duration = Duration::from_secs(1);
/// A snapshot of another replica serves when it is not older. ms.
const FRESH_MS: &str = "950";

/// The pool's windows, each once, and whose they are.
struct Seats {
    keys: Vec<Key>,
    packed: String,
    /// Per seat: the window and every subject it concerns.
    subjects: Vec<(Window, Vec<Arc<str>>)>,
}

impl Ledger {
    /// Looks now; what it saw is what [`Ledger::snapshot`] gives from here on.
    pub(crate) async fn refresh_snapshot(&self) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let catalog = shared.catalog.load_full();
        let now_ms = shared.known().now_ms();
        let seats = self.seats(&catalog, now_ms);
        let keys = &shared.keys;
        let mut all = vec![keys.meta(), keys.health(), keys.speed(), keys.snap(&catalog.hash)];
        all.extend(seats.keys.iter().cloned());
        let args = [FRESH_MS.to_owned(), shared.rules.slack_ms.to_string(), seats.packed.clone()];
        let args = args.into_iter().map(Bytes::from).collect();
        let reply = shared.run(&ScriptCall { script: Script::Snapshot, keys: all, args }).await?;
        let Reply::Bulk(text) = &reply else {
            return Err(LedgerError::Internal(format!("`snapshot` answered {reply:?}")));
        };
        shared.snapshot.store(Arc::new(read(&String::from_utf8_lossy(text), &catalog, &seats)));
        Ok(())
    }

    fn seats(&self, catalog: &Catalog, now_ms: i64) -> Seats {
        let mut seats = Seats { keys: Vec::new(), packed: String::new(), subjects: Vec::new() };
        let mut known: HashMap<Key, usize> = HashMap::new();
        for candidate in &catalog.candidates {
            for window in candidate.windows.iter() {
                let key = self.shared.keys.window(candidate, window);
                let seat = *known.entry(key.clone()).or_insert_with(|| {
                    seats.keys.push(key);
                    encode::push_window(&mut seats.packed, window, 0, now_ms);
                    seats.subjects.push((window.clone(), Vec::new()));
                    seats.subjects.len() - 1
                });
                let whose = &mut seats.subjects[seat].1;
                if !whose.contains(&candidate.subject) {
                    whose.push(candidate.subject.clone());
                }
            }
        }
        seats
    }
}

fn read(text: &str, catalog: &Catalog, seats: &Seats) -> PoolSnapshot {
    let mut lines = text.split('\n');
    let mut standing = PoolSnapshot {
        taken_ms: lines.next().and_then(|now| now.parse().ok()).unwrap_or(0),
        ..PoolSnapshot::default()
    };
    let mut used = vec![0_i64; seats.keys.len()];
    let mut learned: HashMap<&str, Vec<(Limit, i64)>> = HashMap::new();
    let mut shut: HashMap<&str, (i64, String)> = HashMap::new();
    let mut speed: HashMap<&str, f64> = HashMap::new();
    for line in lines {
        let mut words = line.split('\t');
        match (words.next(), words.next(), words.next()) {
            (Some("o"), Some(order), _) => standing.strategy = RoutingStrategy::parse(order),
            (Some("s"), Some(name), Some(ms)) => {
                speed.extend(ms.parse().ok().map(|ms| (name, ms)));
            }
            (Some("w"), Some(seat), Some(units)) => {
                if let (Ok(seat), Ok(units)) = (seat.parse::<usize>(), units.parse())
                    && let Some(place) = used.get_mut(seat)
                {
                    *place = units;
                }
            }
            (Some("h"), Some(field), Some(value)) => {
                let (kind, subject) = field.split_once(':').unwrap_or((field, ""));
                match kind {
                    "p" | "b" => {
                        if value.ends_with(" 1") {
                            standing.disabled.push(subject.to_owned());
                        }
                        standing.breakers.insert(subject.to_owned(), breaker(value, standing.taken_ms));
                    }
                    "k" => {
                        standing.key_cooldowns.extend(until(value, standing.taken_ms).map(|u| (subject.to_owned(), u)));
                    }
                    _ => {
                        shut.extend(until(value, standing.taken_ms).map(|u| (subject, u)));
                        let limits = value.split_once('|').map_or("", |(_, limits)| limits).split(' ');
                        let limits = limits.filter_map(|word| {
                            let (limit, max) = word.split_once('=')?;
                            Some((encode::limit_of(limit)?, max.parse().ok()?))
                        });
                        learned.insert(subject, limits.collect());
                    }
                }
            }
            _ => {}
        }
    }
    for (seat, (window, whose)) in seats.subjects.iter().enumerate() {
        for subject in whose {
            let scope = if window.scope == Scope::Account { account_of(subject) } else { subject };
            let said = learned.get(scope).and_then(|l| l.iter().find(|(limit, _)| *limit == window.limit));
            standing.subjects.entry(subject.clone()).or_default().levels.push(WindowLevel {
                limit: window.limit,
                used: used[seat],
                max: said.map_or(window.max, |(_, max)| *max),
                learned: said.is_some(),
            });
        }
    }
    for candidate in &catalog.candidates {
        place(&mut standing, candidate, &shut, &speed);
    }
    standing
}

fn place(
    standing: &mut PoolSnapshot,
    candidate: &Candidate,
    shut: &HashMap<&str, (i64, String)>,
    speed: &HashMap<&str, f64>,
) {
    let name = &candidate.subject;
    let closed = [shut.get(&**name), shut.get(account_of(name))].into_iter().flatten().max_by_key(|(until, _)| *until);
    let keys: Vec<_> = candidate
        .account
        .keys
        .iter()
        .map(|key| standing.key_cooldowns.get(&format!("{}/{}", candidate.provider.id, key.id)))
        .collect();
    // Every key of the account is shut: so is the account.
    let keyless = keys.iter().all(Option::is_some).then(|| keys.into_iter().flatten().min_by_key(|(until, _)| *until));
    let closed = closed.or(keyless.flatten()).cloned();
    let subject: &mut SubjectSnapshot = standing.subjects.entry(name.clone()).or_default();
    subject.cooldown = closed;
    subject.first_token_ms = speed.get(&*candidate.name).copied();
}

/// `provider/account` of `provider/account/model`.
fn account_of(subject: &str) -> &str {
    let mut slashes = subject.match_indices('/').map(|(at, _)| at);
    slashes.nth(1).map_or(subject, |second| &subject[..second])
}

/// `until cause|limits`, while it lasts.
fn until(value: &str, now_ms: i64) -> Option<(i64, String)> {
    let (until, rest) = value.split_once(' ')?;
    let until = until.parse().ok().filter(|until| *until > now_ms)?;
    Some((until, rest.split('|').next().unwrap_or_default().to_owned()))
}

fn breaker(value: &str, now_ms: i64) -> BreakerState {
    match value.split(' ').nth(3).and_then(|till| till.parse::<i64>().ok()) {
        None | Some(0) => BreakerState::Closed,
        Some(until_ms) if until_ms > now_ms => BreakerState::Open { until_ms },
        Some(_) => BreakerState::HalfOpen,
    }
}

/// Keeps the standing about a second old.
pub(crate) fn watch(ledger: &Ledger) {
    let looking = ledger.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            // What kept it from looking is told by whoever noticed; the last look stands meanwhile.
            let _ = looking.refresh_snapshot().await;
            tokio::time::sleep(PERIOD).await;
        }
    });
}
