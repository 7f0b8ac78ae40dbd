//! The pool's journal: one line per finished request, capped, and running totals.

use serde::{Deserialize, Serialize};

/// One finished request. Never a prompt, never a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// When it came in, ms since the epoch (this replica's wall clock; for people).
    pub time_ms: i64,
    pub request_id: String,
    pub client: String,
    /// The model as asked for.
    pub asked: String,
    /// `provider/model` that answered; empty when none did.
    pub candidate: String,
    /// `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`
    pub attempts: String,
    /// HTTP status the caller saw; 499 when it left.
    pub status: u16,
    pub stream: bool,
    pub waited_ms: i64,
    pub first_content_ms: Option<i64>,
    pub duration_ms: i64,
    pub tokens_in: Option<i64>,
    pub tokens_out: Option<i64>,
}

/// Requests of the whole pool since its state began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: i64,
    pub successes: i64,
    pub failures: i64,
}
