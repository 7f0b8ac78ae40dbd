//! One finished request, as operators see it. Never a prompt, never a key.

use std::time::Duration;

use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it came in, by this replica's wall clock; for people.
    pub time: Timestamp,
    pub request_id: String,
    pub client: String,
    /// The model as asked for.
    pub asked: String,
    /// `provider/model` that answered; empty when none did.
    pub candidate: String,
    /// `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`
    pub attempts: String,
    /// The HTTP status the caller saw; 499 when it left, 502 when a stream broke after its 200.
    pub status: u16,
    pub stream: bool,
    /// For a slot.
    pub waited: Duration,
    /// Since the request came in.
    pub first_content: Option<Duration>,
    pub duration: Duration,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
}

impl Event {
    /// The caller hung up.
    pub const LEFT: u16 = 499;
    pub const BROKE: u16 = 502;
}
