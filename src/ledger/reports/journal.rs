//! The pool's journal: one record per finished request in a capped stream, and running totals.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// One finished request. It never contains a prompt or a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it came in, by this replica's wall clock; for display.
    pub time_ms: i64,
    pub request_id: String,
    pub client: String,
    /// The model name in the request.
    pub requested_model: String,
    /// `provider/model` that answered; empty if none did.
    pub candidate: String,
    /// Account of the candidate that answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    pub attempts: Vec<AttemptRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// HTTP status that the caller saw, or [`Self::CANCELLED`], or [`Self::STREAM_BROKEN`].
    pub status: u16,
    #[serde(default)]
    pub error_code: Option<String>,
    pub stream: bool,
    /// `chat`, `messages` or `responses`; empty in records of older versions.
    #[serde(default)]
    pub protocol: String,
    /// What the client calls the session of the request; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session: String,
    pub waited_ms: i64,
    /// Time in which the ledger could not be reached or did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_wait_ms: Option<i64>,
    pub first_token_ms: Option<i64>,
    pub duration_ms: i64,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
    /// Part of `tokens_in` that the provider had cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_cached: Option<i64>,
    /// Seconds of sound that were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_seconds: Option<i64>,
    #[serde(default)]
    pub trace_id: Option<String>,
}

/// One attempt at one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub candidate: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// `ok`, `429_rpd`, `timeout`, `left`, …
    pub cause: String,
    /// Start of the attempt, since the request came in.
    #[serde(default)]
    pub at_ms: i64,
    #[serde(default)]
    pub duration_ms: i64,
}

/// A candidate that was passed over without an attempt, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PassedOver {
    pub candidate: String,
    pub why: String,
    pub retry_in_ms: i64,
}

impl RequestRecord {
    /// Status of a request whose caller disconnected.
    pub const CANCELLED: u16 = 499;
    /// Status of a stream that broke after its 200.
    pub const STREAM_BROKEN: u16 = 502;

    /// Its size as JSON, about.
    pub(crate) fn approximate_bytes(&self) -> usize {
        let Self { request_id, client, requested_model, candidate, account, .. } = self;
        let own = [request_id, client, requested_model, candidate, account].map(String::len).iter().sum::<usize>();
        let attempts = self.attempts.iter().map(|a| a.candidate.len() + a.account.len() + a.cause.len() + 80);
        let passed_over = self.passed_over.iter().map(|line| line.candidate.len() + line.why.len() + 60);
        400 + own + attempts.sum::<usize>() + passed_over.sum::<usize>()
    }

    /// The value of the `x-tollfree-attempts` header.
    pub fn attempts_header(&self) -> String {
        let attempts: Vec<String> = self.attempts.iter().map(|a| format!("{};{}", a.candidate, a.cause)).collect();
        attempts.join(", ")
    }

    /// The provider that answered, else that of the last attempt.
    pub fn provider(&self) -> Option<&str> {
        self.model().and_then(|name| name.split('/').next())
    }

    /// `provider/model` that answered, else that of the last attempt.
    pub fn model(&self) -> Option<&str> {
        match &*self.candidate {
            "" => self.attempts.last().map(|a| a.candidate.as_str()),
            name => Some(name),
        }
    }
}

/// Requests of the whole pool since its state began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: i64,
    pub successes: i64,
    pub failures: i64,
}

/// Id of an entry of a stream: the time of its write, and a number within that millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RecordId {
    pub ms: u64,
    pub number: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

impl FromStr for RecordId {
    type Err = ();

    /// Accepts only the form that [`fmt::Display`] writes: no sign, no blank, no leading zero.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, number) = text.split_once('-').ok_or(())?;
        let id = Self { ms: ms.parse().map_err(drop)?, number: number.parse().map_err(drop)? };
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// Which records of the journal to read, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalRange {
    /// The newest, newest first.
    Newest,
    /// Those before this one, newest first.
    OlderThan(RecordId),
    /// Those after this one, oldest first.
    NewerThan(RecordId),
}

/// Some records of the journal, in the order of the [`JournalRange`].
#[derive(Debug, Clone, Default)]
pub struct JournalPage {
    pub totals: Totals,
    /// Records that this version can read.
    pub records: Vec<(RecordId, RequestRecord)>,
    /// Records that were scanned, whether readable or not.
    pub scanned: usize,
    /// The last record that was scanned.
    pub last: Option<RecordId>,
}

impl Ledger {
    /// At most `limit` records of the pool's journal, and its totals.
    pub async fn journal(&self, limit: usize, range: JournalRange) -> Result<JournalPage, LedgerError> {
        let (direction, from) = match range {
            JournalRange::Newest => ("newest", String::new()),
            JournalRange::OlderThan(id) => ("older", id.to_string()),
            JournalRange::NewerThan(id) => ("newer", id.to_string()),
        };
        let call = ScriptCall {
            script: Script::Journal,
            keys: vec![self.shared.keys.totals(), self.shared.keys.journal()],
            args: vec![encode::number(limit), Bytes::from_static(direction.as_bytes()), Bytes::from(from)],
        };
        let reply = self.shared.run(&call).await?;
        decode(&reply).ok_or_else(|| LedgerError::unexpected("journal", &reply))
    }
}

fn decode(reply: &Reply) -> Option<JournalPage> {
    let Reply::List(items) = reply else { return None };
    let [Reply::Int(requests), Reply::Int(successes), Reply::Int(failures), rest @ ..] = &items[..] else {
        return None;
    };
    let totals = Totals { requests: *requests, successes: *successes, failures: *failures };
    let mut page = JournalPage { totals, ..JournalPage::default() };
    for [id, record] in rest.as_chunks::<2>().0 {
        let (id, Reply::Bulk(record)) = (id.as_str()?.parse().ok()?, record) else { return None };
        page.scanned += 1;
        page.last = Some(id);
        // A record that another version wrote in a form unknown here is skipped.
        page.records.extend(serde_json::from_slice(record).ok().map(|record| (id, record)));
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = RecordId { ms: 1_790_000_000_000, number: 7 };
        assert_eq!("1790000000000-7".parse(), Ok(id));
        for wrong in ["", "1", "-", "1-", "-1", "01-2", "+1-2", "1-2-3", " 1-2", "1-99999999999999999999"] {
            assert!(wrong.parse::<RecordId>().is_err(), "{wrong}");
        }
    }
}
