//! Roll-ups of finished requests: sums per minute, hour and day, grouped by client, provider and model.

use std::collections::BTreeMap;

use bytes::Bytes;

pub use super::rollup_key::{GroupBy, Step};
use crate::ledger::{
    error::LedgerError,
    reports::journal::RequestRecord,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// The name that collects everything past the most names of a roll-up.
pub const OTHER: &str = "other";
/// The name for requests that reached no provider.
pub const NONE: &str = "none";
/// Separates the parts of a name. No id contains it.
const SEPARATOR: char = '\t';
/// Roll-ups read in one call, which takes about a millisecond.
const BATCH: usize = 100;

/// A name of [`GroupBy::ClientModel`] or [`GroupBy::Window`].
pub(super) fn join_name(client: &str, subject: &str) -> String {
    format!("{client}{SEPARATOR}{subject}")
}

/// The client and the model or subject of a name in [`GroupBy::ClientModel`] and [`GroupBy::Window`].
pub fn split_name(name: &str) -> (&str, &str) {
    name.split_once(SEPARATOR).unwrap_or((name, OTHER))
}

/// Upper bounds of the buckets of [`Sums::first_token`]; the last bucket counts everything slower.
pub const FIRST_TOKEN_BOUNDS_MS: [i64; 16] =
    [50, 100, 150, 250, 350, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 60_000];
const BUCKETS: usize = FIRST_TOKEN_BOUNDS_MS.len() + 1;
const CACHED: usize = 7 + BUCKETS;
const AUDIO: usize = CACHED + 1;
const COLUMNS: usize = AUDIO + 1;

/// Sums of the requests of one name in one step. Stored as numbers in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub requests: i64,
    pub ok: i64,
    /// Neither answered nor rate limited, cancelled requests included.
    pub failed: i64,
    /// Answered with status 429.
    pub limited: i64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    pub waited_ms: i64,
    /// Histogram of the time to the first token.
    pub first_token: [i64; BUCKETS],
    /// Part of `tokens_in` that providers had cached.
    pub tokens_cached: i64,
    /// Seconds of sound.
    pub audio_seconds: i64,
}

impl From<&RequestRecord> for Sums {
    fn from(record: &RequestRecord) -> Self {
        let mut sums = Self {
            requests: 1,
            tokens_in: record.tokens_in.unwrap_or(0).max(0),
            tokens_out: record.tokens_out.unwrap_or(0).max(0),
            waited_ms: record.waited_ms.max(0),
            tokens_cached: record.tokens_cached.unwrap_or(0).max(0),
            audio_seconds: record.audio_seconds.unwrap_or(0).max(0),
            ..Self::default()
        };
        match record.status {
            ..400 => sums.ok = 1,
            429 => sums.limited = 1,
            _ => sums.failed = 1,
        }
        if let Some(ms) = record.first_token_ms {
            sums.first_token[FIRST_TOKEN_BOUNDS_MS.partition_point(|bound| *bound < ms)] = 1;
        }
        sums
    }
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        let mut numbers = self.numbers();
        for (sum, number) in numbers.iter_mut().zip(other.numbers()) {
            *sum += number;
        }
        *self = Self::from_numbers(&numbers);
    }

    /// The time to the first token that `share` of the requests with a token did not exceed; `None` without any.
    pub fn first_token_ms(&self, share: f64) -> Option<i64> {
        let all: i64 = self.first_token.iter().sum();
        if all == 0 {
            return None;
        }
        let (mut left, mut from) = (share * all as f64, 0);
        for (count, bound) in self.first_token.iter().zip(FIRST_TOKEN_BOUNDS_MS) {
            if *count > 0 && left <= *count as f64 {
                #[expect(clippy::cast_possible_truncation, reason = "between the two bounds")]
                return Some(from + ((bound - from) as f64 * (left / *count as f64)).round() as i64);
            }
            left -= *count as f64;
            from = bound;
        }
        // The last bucket has no upper bound.
        Some(from)
    }

    pub(super) fn numbers(&self) -> [i64; COLUMNS] {
        let mut numbers = [0; COLUMNS];
        let head = [self.requests, self.ok, self.failed, self.limited, self.tokens_in, self.tokens_out, self.waited_ms];
        numbers[..head.len()].copy_from_slice(&head);
        numbers[head.len()..][..BUCKETS].copy_from_slice(&self.first_token);
        numbers[CACHED] = self.tokens_cached;
        numbers[AUDIO] = self.audio_seconds;
        numbers
    }

    /// Missing numbers at the end count as 0.
    pub fn from_numbers(numbers: &[i64]) -> Self {
        let at = |column: usize| numbers.get(column).copied().unwrap_or(0);
        Self {
            requests: at(0),
            ok: at(1),
            failed: at(2),
            limited: at(3),
            tokens_in: at(4),
            tokens_out: at(5),
            waited_ms: at(6),
            first_token: std::array::from_fn(|bucket| at(7 + bucket)),
            tokens_cached: at(CACHED),
            audio_seconds: at(AUDIO),
        }
    }
}

/// Names and their numbers in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollup {
    pub start_ms: i64,
    pub names: Vec<(String, Vec<i64>)>,
}

impl Ledger {
    /// Roll-ups of every step that overlaps `from_ms..=to_ms`, oldest first: of these names, or of all if `names` is empty.
    pub async fn rollups(
        &self,
        step: Step,
        by: GroupBy,
        (from_ms, to_ms): (i64, i64),
        names: &[&str],
    ) -> Result<Vec<Rollup>, LedgerError> {
        let starts = std::iter::successors(Some(step.start(from_ms)), |start| Some(start + step.ms()));
        let starts: Vec<i64> = starts.take_while(|start| *start <= to_ms).collect();
        let args: Vec<Bytes> = names.iter().map(|name| encode::text(name)).collect();
        let mut rollups = Vec::with_capacity(starts.len());
        for batch in starts.chunks(BATCH) {
            let keys = batch.iter().map(|start| self.shared.keys.rollup(step, by, *start)).collect();
            let reply = self.shared.run(&ScriptCall { script: Script::Rollup, keys, args: args.clone() }).await?;
            rollups.extend(decode(&reply, batch).ok_or_else(|| LedgerError::unexpected("rollup", &reply))?);
        }
        Ok(rollups)
    }

    /// Sums of these clients since midnight UTC, without those that have none.
    pub async fn usage_today(&self, clients: &[&str]) -> Result<BTreeMap<String, Sums>, LedgerError> {
        let mut today = BTreeMap::new();
        let now_ms = self.now_ms();
        for batch in clients.chunks(BATCH) {
            for rollup in self.rollups(Step::Day, GroupBy::Client, (now_ms, now_ms), batch).await? {
                today.extend(rollup.names.into_iter().map(|(name, numbers)| (name, Sums::from_numbers(&numbers))));
            }
        }
        Ok(today)
    }
}

fn decode(reply: &Reply, starts: &[i64]) -> Option<Vec<Rollup>> {
    let Reply::List(items) = reply else { return None };
    let mut rest = &items[..];
    let mut rollups = Vec::with_capacity(starts.len());
    for start_ms in starts {
        let (Reply::Int(pairs), tail) = rest.split_first()? else { return None };
        let (flat, tail) = tail.split_at_checked(usize::try_from(*pairs).ok()? * 2)?;
        let names = flat.as_chunks::<2>().0.iter().map(|[name, numbers]| {
            let numbers = numbers.as_str()?.split(' ').map(|n| n.parse().unwrap_or(0)).collect();
            Some((name.as_str()?.to_owned(), numbers))
        });
        rollups.push(Rollup { start_ms: *start_ms, names: names.collect::<Option<_>>()? });
        rest = tail;
    }
    rest.is_empty().then_some(rollups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(first_tokens: &[i64]) -> Sums {
        let mut all = Sums::default();
        for ms in first_tokens {
            let record = RequestRecord { status: 200, first_token_ms: Some(*ms), ..RequestRecord::default() };
            all.add(&Sums::from(&record));
        }
        all
    }

    #[test]
    fn numbers_are_read_back_as_they_were_written() {
        for all in [
            Sums::default(),
            sums(&[1, 60, 70_000]),
            Sums { waited_ms: 5, tokens_cached: 9, audio_seconds: 75, ..sums(&[200]) },
        ] {
            assert_eq!(Sums::from_numbers(&all.numbers()), all);
        }
    }

    #[test]
    fn a_percentile_lies_within_the_bucket_that_contains_it() {
        assert_eq!(sums(&[]).first_token_ms(0.5), None);
        let even: Vec<i64> = (1..=1_000).collect();
        let spread = sums(&even);
        for (share, range) in [(0.5, 350..=500), (0.95, 750..=1_000), (0.01, 0..=50)] {
            let percentile = spread.first_token_ms(share).unwrap();
            assert!(range.contains(&percentile), "{share}: {percentile}");
        }
        assert_eq!(sums(&[90_000]).first_token_ms(0.5), Some(60_000), "the last bound");
    }
}
