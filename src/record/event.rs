//! One finished request, as operators see it. Never a prompt, never a key.

use std::time::Duration;

use jiff::Timestamp;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// When it came in, by this replica's wall clock; for people.
    pub time: Timestamp,
    pub request_id: String,
    pub client: String,
    /// The model as asked for, cut where it is absurdly long.
    pub asked: String,
    /// `provider/model` that answered; empty when none did.
    pub candidate: String,
    /// Of the one that answered.
    pub account: String,
    pub attempts: Vec<Tried>,
    /// As the last admission told it.
    pub passed_over: Vec<PassedOver>,
    /// The HTTP status the caller saw; 499 when it left, 502 when a stream broke after its 200.
    pub status: u16,
    /// `code` of the error the caller was told.
    pub error_code: Option<String>,
    pub stream: bool,
    /// For a slot.
    pub waited: Duration,
    /// Since the request came in.
    pub first_content: Option<Duration>,
    pub duration: Duration,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
    pub trace_id: Option<String>,
}

/// One send to one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub candidate: String,
    pub account: String,
    /// `ok`, `429_rpd`, `timeout`; `left` where the caller did not wait for its end.
    pub cause: String,
    /// Since the request came in.
    pub at: Duration,
    pub duration: Duration,
}

/// A candidate that had no room, and what stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    pub candidate: String,
    pub why: String,
    pub opens_in_ms: i64,
}

impl Event {
    /// The caller hung up.
    pub const LEFT: u16 = 499;
    pub const BROKE: u16 = 502;
}
