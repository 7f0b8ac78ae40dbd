//! Records finished requests in the journal, the totals and the roll-ups: one call per batch, each batch once.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    journal::RequestRecord,
    rollup::{NONE, OTHER, Sums, join_name},
    rollup_key::{GroupBy, Step},
};
use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::ScriptCall,
        keys::{Key, Keys},
        scripts::Script,
    },
    shared::Ledger,
};

/// Approximate number of records that the journal keeps.
const MAX_JOURNAL: usize = 10_000;

impl Ledger {
    /// Records a batch of finished requests. Its number is that of its last record, and records of a replica are numbered from
    /// 1: a batch that was recorded before (its reply was lost) is not recorded again.
    pub async fn record(&self, number: u64, batch: &[RequestRecord]) -> Result<(), LedgerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        // Records have the replica's time, roll-ups go by the ledger's clock. No request may be counted in the future.
        let now_ms = self.now_ms();
        let ahead_ms = now_ms - jiff::Timestamp::now().as_millisecond();
        let mut sums = BatchSums::default();
        let mut args = vec![encode::number(number), encode::number(MAX_JOURNAL), encode::number(batch.len())];
        for record in batch {
            sums.count(record, (record.time_ms + ahead_ms).min(now_ms));
            args.push(Bytes::from_static(if record.status < 400 { b"1" } else { b"0" }));
            let json = serde_json::to_vec(record).map_err(|e| LedgerError::Internal(e.to_string()))?;
            args.push(Bytes::from(json));
        }
        let mut keys = vec![shared.keys.totals(), shared.keys.journal(), shared.keys.batch(&shared.replica)];
        sums.encode(&shared.keys, &mut keys, &mut args);
        shared.run(&ScriptCall { script: Script::Record, keys, args }).await.map(drop)
    }
}

/// What a batch adds to each roll-up.
#[derive(Default)]
struct BatchSums {
    rollups: BTreeMap<(Step, GroupBy, i64), BTreeMap<String, Vec<i64>>>,
}

impl BatchSums {
    /// Counts a request that came in at `at_ms` of the ledger's clock.
    fn count(&mut self, record: &RequestRecord, at_ms: i64) {
        let sums = Sums::from(record).numbers();
        let (provider, model) = (record.provider().unwrap_or(NONE), record.model().unwrap_or(NONE));
        let client_model = join_name(&record.client, model);
        self.add(GroupBy::Client, at_ms, &record.client, &sums);
        self.add(GroupBy::Provider, at_ms, provider, &sums);
        self.add(GroupBy::Model, at_ms, model, &sums);
        self.add(GroupBy::ClientModel, at_ms, &client_model, &sums);
        let last = record.attempts.len().saturating_sub(1);
        for (i, attempt) in record.attempts.iter().enumerate() {
            let Some((provider, model)) = attempt.candidate.split_once('/') else { continue };
            // Only the last attempt can have answered.
            let counted = |count: Option<i64>| if i == last { count.unwrap_or(0).max(0) } else { 0 };
            let (input, output) = (counted(record.tokens_in), counted(record.tokens_out));
            let audio = counted(record.audio_seconds);
            let subject = [provider, &attempt.account, model].join("/");
            self.add(GroupBy::Window, at_ms, &join_name(&record.client, &subject), &[1, input + output, input, audio]);
        }
    }

    fn add(&mut self, by: GroupBy, at_ms: i64, name: &str, numbers: &[i64]) {
        for step in by.steps() {
            let names = self.rollups.entry((*step, by, step.start(at_ms))).or_default();
            let sums = names.entry(name.to_owned()).or_insert_with(|| vec![0; numbers.len()]);
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum += number;
            }
        }
    }

    /// Appends the keys and arguments that `record` reads for the roll-ups.
    fn encode(self, keys: &Keys, call_keys: &mut Vec<Key>, args: &mut Vec<Bytes>) {
        for ((step, by, start), names) in self.rollups {
            let other = match by {
                GroupBy::Client | GroupBy::Provider | GroupBy::Model => OTHER.to_owned(),
                GroupBy::ClientModel | GroupBy::Window => join_name(OTHER, OTHER),
            };
            call_keys.push(keys.rollup(step, by, start));
            args.extend([encode::number(step.keep_ms(by)), encode::number(by.max_names(step))]);
            args.extend([Bytes::from(other), encode::number(names.len())]);
            for (name, numbers) in names {
                // Zeros at the end need no space, but an empty list would not be one of numbers.
                let length = numbers.iter().rposition(|n| *n != 0).map_or(1, |last| last + 1);
                let words: Vec<String> = numbers[..length].iter().map(i64::to_string).collect();
                args.extend([Bytes::from(name), Bytes::from(words.join(" "))]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::time::HOUR_MS, ledger::reports::journal::AttemptRecord};

    #[test]
    fn each_attempt_counts_for_its_own_account_and_the_request_once() {
        let attempt = |candidate: &str, account: &str, cause: &str| AttemptRecord {
            candidate: candidate.into(),
            account: account.into(),
            cause: cause.into(),
            ..AttemptRecord::default()
        };
        let record = RequestRecord {
            client: "ann".into(),
            candidate: "groq/a/b".into(),
            attempts: vec![attempt("gemini/flash", "x", "429_rpd"), attempt("groq/a/b", "y", "ok")],
            status: 200,
            tokens_in: Some(3),
            tokens_out: Some(4),
            ..RequestRecord::default()
        };
        let mut batch = BatchSums::default();
        batch.count(&record, 3 * HOUR_MS + 5);
        batch.count(&record, 3 * HOUR_MS + 6);
        let at = |step, by| &batch.rollups[&(step, by, 3 * HOUR_MS)];
        assert_eq!(at(Step::Minute, GroupBy::Provider).keys().collect::<Vec<_>>(), ["groq"]);
        assert_eq!(at(Step::Minute, GroupBy::ClientModel)["ann\tgroq/a/b"][..6], [2, 2, 0, 0, 6, 8]);
        assert_eq!(at(Step::Hour, GroupBy::Window)["ann\tgroq/y/a/b"], [2, 14, 6, 0]);
        assert_eq!(at(Step::Hour, GroupBy::Window)["ann\tgemini/x/flash"], [2, 0, 0, 0]);
        assert_eq!(batch.rollups[&(Step::Day, GroupBy::Client, 0)]["ann"][0], 2);
        let heard = RequestRecord { audio_seconds: Some(75), tokens_in: None, tokens_out: None, ..record };
        let mut batch = BatchSums::default();
        batch.count(&heard, 0);
        assert_eq!(batch.rollups[&(Step::Hour, GroupBy::Window, 0)]["ann\tgroq/y/a/b"], [1, 0, 0, 75]);
        assert_eq!(batch.rollups[&(Step::Hour, GroupBy::Window, 0)]["ann\tgemini/x/flash"], [1, 0, 0, 0]);
    }
}
