//! The snapshot of the whole pool for planning and status pages, about a second old. All replicas share one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;

use super::subject::account_of;
use crate::{
    catalog::Catalog,
    domain::{BreakerState, Candidate, Limit, PoolSnapshot, RoutingStrategy, Scope, Window, WindowLevel, time::DAY_MS},
    ledger::{
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

const PERIOD: Duration = Duration::from_secs(1);
/// Windows that one call reads, which takes Redis a third of a millisecond, and less than one on a slow machine.
const SLICE: usize = 48;
/// Pause between two slices: a large pool takes a tenth of Redis's time at most, and its snapshot is some seconds old.
const SLICE_PAUSE: Duration = Duration::from_millis(3);
/// A snapshot that another replica took is used up to this age.
const MAX_AGE_MS: &str = "950";

/// The windows of the pool, each once.
#[derive(Default)]
struct PoolWindows {
    keys: Vec<Key>,
    /// Of each slice of the keys.
    encoded: Vec<String>,
    /// For each window: the window and every subject that it limits.
    windows: Vec<(Window, Vec<Arc<str>>)>,
}

/// What one call reads.
struct Part<'a> {
    name: String,
    /// `h` the order of candidates, and health; `s` speed
    reads: &'static str,
    keys: &'a [Key],
    encoded: &'a str,
    /// Index of the first window.
    from: usize,
}

impl PoolWindows {
    /// One call for all of a small pool. In a large one, health and speed take a call each as well.
    fn parts(&self) -> Vec<Part<'_>> {
        let state = |reads: &'static str| Part { name: reads.to_owned(), reads, keys: &[], encoded: "", from: 0 };
        let slices = self.keys.chunks(SLICE).zip(&self.encoded).enumerate().map(|(slice, (keys, encoded))| {
            let from = slice * SLICE;
            Part { name: from.to_string(), reads: "", keys, encoded, from }
        });
        let mut parts: Vec<Part<'_>> = slices.collect();
        match &mut parts[..] {
            [] => vec![state("hs")],
            [only] => {
                only.reads = "hs";
                parts
            }
            _ => [state("h"), state("s")].into_iter().chain(parts).collect(),
        }
    }
}

impl Ledger {
    /// Takes a snapshot now, which [`Ledger::snapshot`] returns from here on.
    pub(crate) async fn refresh_snapshot(&self) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let catalog = shared.catalog.load_full();
        let windows = self.pool_windows(&catalog);
        let mut used = vec![0_i64; windows.keys.len()];
        let mut state = String::new();
        // A version with other slices has snapshots of its own.
        let pool = format!("{}.{SLICE}", catalog.hash);
        for (number, part) in windows.parts().into_iter().enumerate() {
            if number > 0 {
                sleep(SLICE_PAUSE).await;
            }
            let mut keys = vec![
                shared.keys.meta(),
                shared.keys.health(),
                shared.keys.speed(),
                shared.keys.snapshot(&pool, part.name),
            ];
            keys.extend_from_slice(part.keys);
            let args = vec![
                Bytes::from_static(MAX_AGE_MS.as_bytes()),
                shared.slack_ms.clone(),
                Bytes::copy_from_slice(part.encoded.as_bytes()),
                Bytes::from_static(part.reads.as_bytes()),
            ];
            let reply = shared.run(&ScriptCall { script: Script::Snapshot, keys, args }).await?;
            let Reply::Bulk(text) = &reply else { return Err(LedgerError::unexpected("snapshot", &reply)) };
            let text = String::from_utf8_lossy(text);
            read_windows(&text, &mut used[part.from..]);
            if state.is_empty() {
                state = text.into_owned();
            } else if !part.reads.is_empty() {
                // Its first line is the instant.
                state.extend(text.lines().skip(1).flat_map(|line| ["\n", line]));
            }
        }
        let offset_ms = shared.epoch().offset_ms();
        let snapshot = decode(&state, &catalog, &windows, &used, offset_ms);
        shared.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    fn pool_windows(&self, catalog: &Catalog) -> PoolWindows {
        let now_ms = self.now_ms();
        let mut pool = PoolWindows::default();
        let mut known: HashMap<Key, usize> = HashMap::new();
        for candidate in &catalog.candidates {
            for window in candidate.windows.iter() {
                let key = self.shared.keys.window(candidate, window);
                let index = *known.entry(key.clone()).or_insert_with(|| {
                    if pool.keys.len() >= pool.encoded.len() * SLICE {
                        pool.encoded.push(String::new());
                    }
                    pool.keys.push(key);
                    if let Some(slice) = pool.encoded.last_mut() {
                        encode::push_window(slice, window, 0, now_ms);
                    }
                    pool.windows.push((window.clone(), Vec::new()));
                    pool.windows.len() - 1
                });
                let subjects = &mut pool.windows[index].1;
                if !subjects.contains(&candidate.subject) {
                    subjects.push(candidate.subject.clone());
                }
            }
        }
        pool
    }
}

/// What the reply states about accounts and models, by subject or by `provider/model`.
#[derive(Default)]
struct Decoded<'a> {
    learned: HashMap<&'a str, Vec<(Limit, i64)>>,
    cooldowns: HashMap<&'a str, (i64, String)>,
    first_token_ms: HashMap<&'a str, f64>,
}

/// Reads the `w` lines of one slice.
fn read_windows(text: &str, used: &mut [i64]) {
    for line in text.lines() {
        let mut words = line.split('\t');
        if let (Some("w"), Some(index), Some(units)) = (words.next(), words.next(), words.next())
            && let (Ok(index), Ok(units)) = (index.parse::<usize>(), units.parse())
            && let Some(used) = used.get_mut(index)
        {
            *used = units;
        }
    }
}

/// Decodes the replies of `lua/reports/snapshot.lua`: the instant, then `o` strategy, `s` speed and `h` health lines.
/// Its instants are those of the pool's clock, which is ahead by the offset.
fn decode(text: &str, catalog: &Catalog, pool: &PoolWindows, used: &[i64], offset_ms: i64) -> PoolSnapshot {
    let mut lines = text.split('\n');
    let taken_ms = lines.next().and_then(|now| now.parse::<i64>().ok()).unwrap_or(0) - offset_ms;
    let mut snapshot = PoolSnapshot { taken_ms, ..PoolSnapshot::default() };
    let mut decoded = Decoded::default();
    for line in lines {
        let mut words = line.split('\t');
        let kind = words.next();
        while let Some(name) = words.next() {
            match (kind, words.next()) {
                (Some("o"), _) => snapshot.strategy = RoutingStrategy::parse(name),
                (Some("s"), Some(ms)) => decoded.first_token_ms.extend(ms.parse().ok().map(|ms| (name, ms))),
                (Some("h"), Some(value)) => decode_health(&mut snapshot, &mut decoded, name, value, offset_ms),
                _ => {}
            }
        }
    }
    for ((window, subjects), used) in pool.windows.iter().zip(used.iter().copied()) {
        for subject in subjects {
            let scope = if window.scope == Scope::Account { account_of(subject) } else { subject };
            let learned = decoded.learned.get(scope).and_then(|l| l.iter().find(|(limit, _)| *limit == window.limit));
            snapshot.subjects.entry(subject.clone()).or_default().levels.push(WindowLevel {
                limit: window.limit,
                used,
                max: learned.map_or(window.max, |(_, max)| *max),
                learned: learned.is_some(),
            });
        }
    }
    for candidate in &catalog.candidates {
        let cooldown = cooldown(&snapshot, candidate, &decoded.cooldowns);
        let subject = snapshot.subjects.entry(candidate.subject.clone()).or_default();
        subject.cooldown = cooldown;
        subject.first_token_ms = decoded.first_token_ms.get(&*candidate.name).copied();
    }
    snapshot
}

/// One field of `health`: breakers `p:`, `b:` as `… until … off`; cooldowns `k:`, `m:`, `a:` as `until cause|limits`.
fn decode_health<'a>(
    snapshot: &mut PoolSnapshot,
    decoded: &mut Decoded<'a>,
    field: &'a str,
    value: &str,
    offset_ms: i64,
) {
    let (kind, subject) = field.split_once(':').unwrap_or((field, ""));
    match kind {
        "p" | "b" => {
            if value.ends_with(" 1") {
                snapshot.disabled.push(subject.to_owned());
            }
            snapshot.breakers.insert(subject.to_owned(), breaker(value, snapshot.taken_ms, offset_ms));
        }
        "k" => {
            let cooldown = cooldown_until(value, snapshot.taken_ms, offset_ms);
            snapshot.key_cooldowns.extend(cooldown.map(|cooldown| (subject.to_owned(), cooldown)));
        }
        _ => {
            let cooldown = cooldown_until(value, snapshot.taken_ms, offset_ms);
            decoded.cooldowns.extend(cooldown.map(|cooldown| (subject, cooldown)));
            let limits = value.split_once('|').map_or("", |(_, limits)| limits).split(' ');
            let limits = limits.filter_map(|word| {
                let (limit, learned) = word.split_once('=')?;
                let (max, since) = learned.split_once('@').unwrap_or((learned, ""));
                // A ceiling is forgotten after a day (lua/lib/learned_limits.lua).
                let ceiling_ms = since.strip_suffix('c').and_then(|ms| ms.parse::<i64>().ok());
                let is_over = ceiling_ms.is_some_and(|ms| snapshot.taken_ms + offset_ms - ms >= DAY_MS);
                (!is_over).then_some((encode::limit_by_name(limit)?, max.parse().ok()?))
            });
            decoded.learned.insert(subject, limits.collect());
        }
    }
}

/// The cooldown of a candidate's subject: the longer one of the model's and the account's, else the shortest one of its
/// keys if all keys of the account have one.
fn cooldown(
    snapshot: &PoolSnapshot,
    candidate: &Candidate,
    cooldowns: &HashMap<&str, (i64, String)>,
) -> Option<(i64, String)> {
    let subject = &*candidate.subject;
    let own = [subject, account_of(subject)].into_iter().filter_map(|name| cooldowns.get(name));
    let of_key = |id| snapshot.key_cooldowns.get(&format!("{}/{id}", candidate.provider.id));
    own.max_by_key(|(until, _)| *until)
        .or_else(|| {
            let keys: Option<Vec<_>> = candidate.account.keys.iter().map(|key| of_key(&key.id)).collect();
            keys?.into_iter().min_by_key(|(until, _)| *until)
        })
        .cloned()
}

/// `until cause|limits`; `None` once it is over.
fn cooldown_until(value: &str, now_ms: i64, offset_ms: i64) -> Option<(i64, String)> {
    let (until, rest) = value.split_once(' ')?;
    let until = until.parse::<i64>().ok().map(|until| until - offset_ms).filter(|until| *until > now_ms)?;
    Some((until, rest.split('|').next().unwrap_or_default().to_owned()))
}

fn breaker(value: &str, now_ms: i64, offset_ms: i64) -> BreakerState {
    match value.split(' ').nth(3).and_then(|until| until.parse::<i64>().ok()) {
        None | Some(0) => BreakerState::Closed,
        Some(until_ms) if until_ms - offset_ms > now_ms => BreakerState::Open { until_ms: until_ms - offset_ms },
        Some(_) => BreakerState::HalfOpen,
    }
}

/// Keeps the snapshot about a second old.
pub(crate) fn watch(ledger: &Ledger) {
    let watched = ledger.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            // On an error, which `note` has logged, the last snapshot stays in use.
            let _ = watched.refresh_snapshot().await;
            sleep(PERIOD).await;
        }
    });
}
