//! Roll-ups of finished requests: per minute, hour and day, by who asked and who served. Written by `lua/reports/record.lua`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::ledger::{
    error::LedgerError,
    reports::journal::RequestRecord,
    script::{
        engine::{Reply, ScriptCall},
        keys::{Key, Keys},
        scripts::Script,
    },
    shared::Ledger,
};

/// Under this name stands what comes beyond the most names of a roll-up.
pub const OTHER: &str = "other";
/// Under this one what no provider was asked for: refused, or not to be served at all.
pub const NONE: &str = "none";
/// Between the parts of a name. No id holds it.
const SEAM: char = '\t';
/// Roll-ups read in one call: about a millisecond.
const AT_ONCE: usize = 100;

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub fn ms(self) -> i64 {
        match self {
            Step::Minute => MINUTE_MS,
            Step::Hour => HOUR_MS,
            Step::Day => DAY_MS,
        }
    }

    /// The start of the stretch that holds an instant; days are those of UTC.
    pub fn start(self, ms: i64) -> i64 {
        ms - ms.rem_euclid(self.ms())
    }

    pub(in crate::ledger) fn letter(self) -> char {
        match self {
            Step::Minute => 'm',
            Step::Hour => 'h',
            Step::Day => 'd',
        }
    }

    /// How long its roll-ups are kept.
    pub fn keep_ms(self, by: GroupBy) -> i64 {
        match (self, by) {
            (Step::Minute, GroupBy::Window) => 3 * HOUR_MS,
            (Step::Minute, _) => 26 * HOUR_MS,
            (Step::Hour, _) => 50 * HOUR_MS,
            (Step::Day, GroupBy::Window) => 70 * DAY_MS,
            (Step::Day, _) => 400 * DAY_MS,
        }
    }
}

/// What a roll-up's names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupBy {
    Client,
    Provider,
    /// `provider/model`
    Model,
    /// Client and `provider/model`.
    ClientModel,
    /// Client and `provider/account/model`: every attempt, with what it took of its windows.
    Window,
}

impl GroupBy {
    pub(in crate::ledger) fn letter(self) -> char {
        match self {
            GroupBy::Client => 'c',
            GroupBy::Provider => 'p',
            GroupBy::Model => 'o',
            GroupBy::ClientModel => 'x',
            GroupBy::Window => 'w',
        }
    }

    /// The most names in one roll-up; what comes beyond is under [`OTHER`].
    pub fn names_most(self, step: Step) -> usize {
        match (self, step) {
            (GroupBy::Provider, _) => 64,
            (GroupBy::Client | GroupBy::Model, Step::Minute) => 128,
            (GroupBy::Client | GroupBy::Model, _) => 512,
            (GroupBy::ClientModel | GroupBy::Window, Step::Minute) => 256,
            (GroupBy::ClientModel | GroupBy::Window, _) => 1_024,
        }
    }

    fn rest(self) -> String {
        match self {
            GroupBy::Client | GroupBy::Provider | GroupBy::Model => OTHER.to_owned(),
            GroupBy::ClientModel | GroupBy::Window => name(OTHER, OTHER),
        }
    }
}

fn name(client: &str, of: &str) -> String {
    let mut name = String::with_capacity(client.len() + SEAM.len_utf8() + of.len());
    name.push_str(client);
    name.push(SEAM);
    name.push_str(of);
    name
}

/// The client and what it asked, of a name in [`GroupBy::ClientModel`] and [`GroupBy::Window`].
pub fn split_name(name: &str) -> (&str, &str) {
    name.split_once(SEAM).unwrap_or((name, OTHER))
}

/// Upper bounds (ms) of the places of [`Sums::first_content`]; the last place is for all that took longer.
pub const FIRST_CONTENT_MS: [i64; 16] =
    [50, 100, 150, 250, 350, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 60_000];
const PLACES: usize = FIRST_CONTENT_MS.len() + 1;

/// What one name did in one stretch of time. Written as numbers in this order; more may follow them one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub requests: i64,
    pub ok: i64,
    /// Neither answered nor limited; those who left are among them.
    pub failed: i64,
    /// Answered 429.
    pub limited: i64,
    pub tokens_in: i64,
    pub tokens_out: i64,
    pub waited_ms: i64,
    /// How many had their first content within each of [`FIRST_CONTENT_MS`].
    pub first_content: [i64; PLACES],
}

impl Sums {
    fn of(line: &RequestRecord) -> Self {
        let mut sums = Self {
            requests: 1,
            tokens_in: line.tokens_in.unwrap_or(0).max(0),
            tokens_out: line.tokens_out.unwrap_or(0).max(0),
            waited_ms: line.waited_ms.max(0),
            ..Self::default()
        };
        match line.status {
            ..400 => sums.ok = 1,
            429 => sums.limited = 1,
            _ => sums.failed = 1,
        }
        if let Some(ms) = line.first_content_ms {
            sums.first_content[FIRST_CONTENT_MS.partition_point(|bound| *bound < ms)] = 1;
        }
        sums
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.ok += other.ok;
        self.failed += other.failed;
        self.limited += other.limited;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.waited_ms += other.waited_ms;
        for (place, more) in self.first_content.iter_mut().zip(other.first_content) {
            *place += more;
        }
    }

    /// The first content was there within so many ms for `share` of those that had any; `None` where none had.
    pub fn first_content_ms(&self, share: f64) -> Option<i64> {
        let all: i64 = self.first_content.iter().sum();
        if all == 0 {
            return None;
        }
        let (mut left, mut from) = (share * all as f64, 0);
        for (count, bound) in self.first_content.iter().zip(FIRST_CONTENT_MS) {
            if *count > 0 && left <= *count as f64 {
                #[expect(clippy::cast_possible_truncation, reason = "between the two bounds")]
                return Some(from + ((bound - from) as f64 * (left / *count as f64)).round() as i64);
            }
            left -= *count as f64;
            from = bound;
        }
        // Slower than the last bound: how much is not known.
        Some(from)
    }

    fn numbers(&self) -> Vec<i64> {
        let head = [self.requests, self.ok, self.failed, self.limited, self.tokens_in, self.tokens_out, self.waited_ms];
        let mut all = [&head[..], &self.first_content[..]].concat();
        all.truncate(all.iter().rposition(|n| *n != 0).map_or(1, |last| last + 1));
        all
    }

    pub fn read(numbers: &[i64]) -> Self {
        let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
        Self {
            requests: at(0),
            ok: at(1),
            failed: at(2),
            limited: at(3),
            tokens_in: at(4),
            tokens_out: at(5),
            waited_ms: at(6),
            first_content: std::array::from_fn(|place| at(7 + place)),
        }
    }
}

/// What the attempts of one client took of the windows of one account and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptUsage {
    pub requests: i64,
    /// Prompt and answer.
    pub tokens: i64,
    pub input: i64,
}

impl AttemptUsage {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
        self.input += other.input;
    }

    pub fn read(numbers: &[i64]) -> Self {
        let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
        Self { requests: at(0), tokens: at(1), input: at(2) }
    }
}

/// Names and their numbers in one stretch of time that starts at `start_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollup {
    pub start_ms: i64,
    pub names: Vec<(String, Vec<i64>)>,
}

/// What a batch adds to the roll-ups, each key once.
#[derive(Default)]
pub(in crate::ledger) struct Added {
    rollups: BTreeMap<(Step, GroupBy, i64), BTreeMap<String, Vec<i64>>>,
}

impl Added {
    /// `at_ms`: when the request came in, by the ledger's clock.
    pub fn count(&mut self, line: &RequestRecord, at_ms: i64) {
        let minute = Step::Minute.start(at_ms);
        let sums = Sums::of(line).numbers();
        let (provider, model) = (line.provider().unwrap_or(NONE), line.served().unwrap_or(NONE));
        let pair = name(&line.client, model);
        for (by, name) in [
            (GroupBy::Client, &*line.client),
            (GroupBy::Provider, provider),
            (GroupBy::Model, model),
            (GroupBy::ClientModel, &*pair),
        ] {
            self.add((Step::Minute, by, minute), name, &sums);
        }
        for (i, attempt) in line.attempts.iter().enumerate() {
            let Some((provider, model)) = attempt.candidate.split_once('/') else { continue };
            let answered = i + 1 == line.attempts.len();
            let (input, output) = if answered { (line.tokens_in, line.tokens_out) } else { (None, None) };
            let input = input.unwrap_or(0).max(0);
            let taken = [1, input + output.unwrap_or(0).max(0), input];
            let seat = [provider, &attempt.account, model].join("/");
            self.add((Step::Minute, GroupBy::Window, minute), &name(&line.client, &seat), &taken);
        }
    }

    fn add(&mut self, at: (Step, GroupBy, i64), name: &str, numbers: &[i64]) {
        let names = self.rollups.entry(at).or_default();
        // Most names of a batch have come before.
        let sums = match names.get_mut(name) {
            Some(sums) => sums,
            None => names.entry(name.to_owned()).or_default(),
        };
        sums.resize(sums.len().max(numbers.len()), 0);
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    }

    /// What was counted by the minute, by the longer stretches too.
    fn spread(&mut self) {
        for ((_, by, start), names) in self.rollups.clone() {
            let longer: &[Step] = if by == GroupBy::Window { &[Step::Hour, Step::Day] } else { &[Step::Day] };
            for step in longer {
                for (name, numbers) in &names {
                    self.add((*step, by, step.start(start)), name, numbers);
                }
            }
        }
    }

    /// As `record` reads them.
    pub fn pack(mut self, keys: &Keys, call_keys: &mut Vec<Key>, args: &mut Vec<Bytes>) {
        self.spread();
        for ((step, by, start), names) in self.rollups {
            call_keys.push(keys.rollup(step, by, start));
            args.push(Bytes::from(step.keep_ms(by).to_string()));
            args.push(Bytes::from(by.names_most(step).to_string()));
            args.push(Bytes::from(by.rest()));
            args.push(Bytes::from(names.len().to_string()));
            for (name, numbers) in names {
                args.push(Bytes::from(name));
                let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
                args.push(Bytes::from(words.join(" ")));
            }
        }
    }
}

impl Ledger {
    /// Roll-ups of every stretch that touches `from_ms … to_ms`, oldest first; only `names`, or all where there are none.
    pub async fn rollups(
        &self,
        step: Step,
        by: GroupBy,
        (from_ms, to_ms): (i64, i64),
        names: &[&str],
    ) -> Result<Vec<Rollup>, LedgerError> {
        let mut starts = Vec::new();
        let mut start = step.start(from_ms);
        while start <= to_ms {
            starts.push(start);
            start += step.ms();
        }
        let args: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect();
        let mut rollups = Vec::with_capacity(starts.len());
        for some in starts.chunks(AT_ONCE) {
            let keys = some.iter().map(|start| self.shared.keys.rollup(step, by, *start)).collect();
            let reply = self.shared.run(&ScriptCall { script: Script::Rollup, keys, args: args.clone() }).await?;
            let read = read(&reply, some).ok_or_else(|| LedgerError::Internal("`rollup` answered otherwise".into()))?;
            rollups.extend(read);
        }
        Ok(rollups)
    }

    /// What each of these clients has done since midnight UTC; who has done nothing is left out.
    pub async fn usage_today(&self, clients: &[&str]) -> Result<BTreeMap<String, Sums>, LedgerError> {
        let mut today = BTreeMap::new();
        let now_ms = self.now_ms();
        for some in clients.chunks(AT_ONCE) {
            for rollup in self.rollups(Step::Day, GroupBy::Client, (now_ms, now_ms), some).await? {
                today.extend(rollup.names.into_iter().map(|(name, numbers)| (name, Sums::read(&numbers))));
            }
        }
        Ok(today)
    }
}

fn read(reply: &Reply, starts: &[i64]) -> Option<Vec<Rollup>> {
    let Reply::List(items) = reply else { return None };
    let mut rest = &items[..];
    let mut rollups = Vec::with_capacity(starts.len());
    for start_ms in starts {
        let (Reply::Int(pairs), tail) = rest.split_first()? else { return None };
        let (flat, tail) = tail.split_at_checked(usize::try_from(*pairs).ok()? * 2)?;
        let names = flat.chunks_exact(2).map(|pair| match pair {
            [Reply::Bulk(name), Reply::Bulk(numbers)] => {
                let numbers = std::str::from_utf8(numbers).ok()?.split(' ').map(|n| n.parse().unwrap_or(0)).collect();
                Some((String::from_utf8_lossy(name).into_owned(), numbers))
            }
            _ => None,
        });
        rollups.push(Rollup { start_ms: *start_ms, names: names.collect::<Option<_>>()? });
        rest = tail;
    }
    rest.is_empty().then_some(rollups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(first_contents: &[i64]) -> Sums {
        let mut all = Sums::default();
        for ms in first_contents {
            let line = RequestRecord { status: 200, first_content_ms: Some(*ms), ..RequestRecord::default() };
            all.add(&Sums::of(&line));
        }
        all
    }

    #[test]
    fn numbers_are_read_back_as_they_were_written() {
        for all in [Sums::default(), sums(&[1, 60, 70_000]), Sums { waited_ms: 5, ..sums(&[200]) }] {
            assert_eq!(Sums::read(&all.numbers()), all);
        }
        assert_eq!(Sums::default().numbers(), [0], "never nothing");
    }

    #[test]
    fn a_percentile_lies_within_the_place_that_holds_it() {
        assert_eq!(sums(&[]).first_content_ms(0.5), None);
        let even: Vec<i64> = (1..=1_000).collect();
        let spread = sums(&even);
        for (share, within) in [(0.5, 350..=500), (0.95, 750..=1_000), (0.01, 0..=50)] {
            let told = spread.first_content_ms(share).unwrap();
            assert!(within.contains(&told), "{share}: {told}");
        }
        assert_eq!(sums(&[90_000]).first_content_ms(0.5), Some(60_000), "at least");
    }

    #[test]
    fn each_attempt_counts_for_its_own_account_and_the_request_once() {
        let tried = |candidate: &str, account: &str, cause: &str| crate::ledger::reports::journal::AttemptRecord {
            candidate: candidate.into(),
            account: account.into(),
            cause: cause.into(),
            ..Default::default()
        };
        let line = RequestRecord {
            client: "ann".into(),
            candidate: "groq/a/b".into(),
            attempts: vec![tried("gemini/flash", "x", "429_rpd"), tried("groq/a/b", "y", "ok")],
            status: 200,
            tokens_in: Some(3),
            tokens_out: Some(4),
            ..RequestRecord::default()
        };
        let mut added = Added::default();
        added.count(&line, 3 * HOUR_MS + 5);
        added.count(&line, 3 * HOUR_MS + 6);
        added.spread();
        let of = |step, by| &added.rollups[&(step, by, 3 * HOUR_MS)];
        assert_eq!(of(Step::Minute, GroupBy::Provider).keys().collect::<Vec<_>>(), ["groq"]);
        assert_eq!(of(Step::Minute, GroupBy::ClientModel)["ann\tgroq/a/b"][..6], [2, 2, 0, 0, 6, 8]);
        assert_eq!(of(Step::Hour, GroupBy::Window)["ann\tgroq/y/a/b"], [2, 14, 6]);
        assert_eq!(of(Step::Hour, GroupBy::Window)["ann\tgemini/x/flash"], [2, 0, 0]);
        assert_eq!(added.rollups[&(Step::Day, GroupBy::Client, 0)]["ann"][0], 2);
    }
}
