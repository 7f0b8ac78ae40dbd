//! The pool's journal: one line per finished request, in a capped stream, and running totals.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ledger::{
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// One finished request. Never a prompt, never a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it came in, ms since the epoch (this replica's wall clock; for people).
    pub time_ms: i64,
    pub request_id: String,
    pub client: String,
    /// The model as asked for.
    pub asked: String,
    /// `provider/model` that answered; empty when none did.
    pub candidate: String,
    /// Of the one that answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    #[serde(deserialize_with = "attempts")]
    pub attempts: Vec<AttemptRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// HTTP status the caller saw, or [`Self::CANCELLED`], or [`Self::STREAM_BROKEN`].
    pub status: u16,
    #[serde(default)]
    pub error_code: Option<String>,
    pub stream: bool,
    pub waited_ms: i64,
    pub first_content_ms: Option<i64>,
    pub duration_ms: i64,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
    #[serde(default)]
    pub trace_id: Option<String>,
}

/// One send to one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub candidate: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// `ok`, `429_rpd`, `timeout`, `left`, …
    pub cause: String,
    /// Since the request came in.
    #[serde(default)]
    pub at_ms: i64,
    #[serde(default)]
    pub duration_ms: i64,
}

/// A candidate that was not asked, and what stood in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PassedOver {
    pub candidate: String,
    pub why: String,
    pub retry_in_ms: i64,
}

/// A list; or, as older replicas wrote it, `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`.
fn attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AttemptRecord>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<AttemptRecord>),
        Text(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::List(list) => list,
        Either::Text(text) => {
            let one = |word: &str| {
                let (candidate, cause) = word.rsplit_once(';')?;
                Some(AttemptRecord {
                    candidate: candidate.to_owned(),
                    cause: cause.to_owned(),
                    ..AttemptRecord::default()
                })
            };
            text.split(", ").filter_map(one).collect()
        }
    })
}

impl RequestRecord {
    /// The caller hung up.
    pub const CANCELLED: u16 = 499;
    /// A stream broke after its 200.
    pub const STREAM_BROKEN: u16 = 502;

    /// What `x-tollfree-attempts` says of it.
    pub fn attempts_header(&self) -> String {
        let told: Vec<String> = self.attempts.iter().map(|a| format!("{};{}", a.candidate, a.cause)).collect();
        told.join(", ")
    }

    /// The provider that answered, else the last that was asked.
    pub fn provider(&self) -> Option<&str> {
        self.served().and_then(|name| name.split('/').next())
    }

    /// `provider/model` that answered, else the last that was asked.
    pub fn served(&self) -> Option<&str> {
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

/// The name of one line: when it was written, and which of that millisecond.
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

    /// Only as it is written: no sign, no blank, no second spelling.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, number) = text.split_once('-').ok_or(())?;
        let id = Self { ms: ms.parse().map_err(drop)?, number: number.parse().map_err(drop)? };
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalRange {
    /// The newest first.
    Newest,
    /// The newest first, of those before this one.
    OlderThan(RecordId),
    /// The oldest first, of those after this one.
    NewerThan(RecordId),
}

/// Some lines of the journal, in the order they were asked for.
#[derive(Debug, Clone, Default)]
pub struct JournalPage {
    pub totals: Totals,
    /// Those that this version can read.
    pub lines: Vec<(RecordId, RequestRecord)>,
    /// How many were looked at, and the last of them.
    pub looked_at: usize,
    pub last: Option<RecordId>,
}

impl Ledger {
    /// At most `most` lines of the pool's journal, and its totals.
    pub async fn journal(&self, most: usize, reading: JournalRange) -> Result<JournalPage, LedgerError> {
        let (way, from) = match reading {
            JournalRange::Newest => ("newest", String::new()),
            JournalRange::OlderThan(id) => ("older", id.to_string()),
            JournalRange::NewerThan(id) => ("newer", id.to_string()),
        };
        let call = ScriptCall {
            script: Script::Journal,
            keys: vec![self.shared.keys.totals(), self.shared.keys.journal()],
            args: vec![Bytes::from(most.to_string()), Bytes::from_static(way.as_bytes()), Bytes::from(from)],
        };
        let reply = self.shared.run(&call).await?;
        read(&reply).ok_or_else(|| LedgerError::Internal("`journal` answered something else".to_owned()))
    }

    /// What members are called. Whoever has no record (any more) is left out.
    pub async fn client_names(&self, ids: &[&str]) -> Result<Vec<(String, String)>, LedgerError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let listed = self.file_clients();
        let in_file = |id: &&str| listed.iter().find(|member| *member.id == **id);
        let mut named: Vec<(String, String)> =
            ids.iter().filter_map(|id| Some(((*id).to_owned(), in_file(id)?.settings.name.clone()))).collect();
        let ids: Vec<&str> = ids.iter().copied().filter(|id| in_file(id).is_none()).collect();
        if ids.is_empty() {
            return Ok(named);
        }
        let keys = ids.iter().map(|id| self.shared.keys.member(id)).collect();
        let reply = self.shared.run(&ScriptCall { script: Script::DisplayNames, keys, args: Vec::new() }).await?;
        let Reply::List(records) = reply else {
            return Err(LedgerError::Internal(format!("`names` answered {reply:?}")));
        };
        let name = |(id, record): (&&str, Reply)| match record {
            Reply::Bulk(text) => Some(((*id).to_owned(), serde_json::from_slice::<Named>(&text).ok()?.name)),
            _ => None,
        };
        named.extend(ids.iter().zip(records).filter_map(name));
        Ok(named)
    }
}

fn read(reply: &Reply) -> Option<JournalPage> {
    let Reply::List(items) = reply else { return None };
    let [Reply::Int(requests), Reply::Int(successes), Reply::Int(failures), rest @ ..] = &items[..] else {
        return None;
    };
    let totals = Totals { requests: *requests, successes: *successes, failures: *failures };
    let mut page = JournalPage { totals, ..JournalPage::default() };
    for pair in rest.chunks_exact(2) {
        let [Reply::Bulk(id), Reply::Bulk(line)] = pair else { return None };
        let id: RecordId = std::str::from_utf8(id).ok()?.parse().ok()?;
        page.looked_at += 1;
        page.last = Some(id);
        // A line another version wrote and we cannot read is passed over.
        page.lines.extend(serde_json::from_slice(line).ok().map(|line| (id, line)));
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_older_replica_is_read() {
        let old = r#"{"time_ms":1,"request_id":"r","client":"anon:::1","asked":"free","candidate":"a/m",
            "attempts":"b/x:free;429_rpd, a/m;ok","status":200,"stream":true,"waited_ms":0,"first_content_ms":5,
            "duration_ms":9,"tokens_in":3,"tokens_out":null}"#;
        let line: RequestRecord = serde_json::from_str(old).unwrap();
        assert_eq!(line.attempts_header(), "b/x:free;429_rpd, a/m;ok");
        assert_eq!((line.provider(), line.error_code.as_deref(), line.passed_over.len()), (Some("a"), None, 0));
        let again: RequestRecord = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        assert_eq!(again, line);
        let none: RequestRecord = serde_json::from_str(&old.replace("b/x:free;429_rpd, a/m;ok", "")).unwrap();
        assert!(none.attempts.is_empty());
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = RecordId { ms: 1_790_000_000_000, number: 7 };
        assert_eq!("1790000000000-7".parse(), Ok(id));
        for wrong in ["", "1", "-", "1-", "-1", "01-2", "+1-2", "1-2-3", " 1-2", "1-99999999999999999999"] {
            assert!(wrong.parse::<RecordId>().is_err(), "{wrong}");
        }
    }
}
