//! A failed request in the terms that every protocol writes in its own way.

/// Why a request got no answer, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status, also where the headers have been sent already.
    pub status: u16,
    /// OpenAI's word: `invalid_request_error`, `rate_limit_error`, `server_error`, …
    pub kind: String,
    pub code: Option<String>,
    /// The field of the request that caused it.
    pub param: Option<String>,
    pub message: String,
    /// When to retry, in milliseconds from now; set for every 429 and 503.
    pub retry_ms: Option<i64>,
}

impl Failure {
    /// This replica has no memory for more of the answer.
    pub fn no_memory() -> Self {
        let code = Some("overloaded".to_owned());
        Self { status: 503, code, retry_ms: Some(1_000), ..Self::upstream("There is no memory for a longer answer.") }
    }

    /// A provider's answer broke off, or cannot be read.
    pub fn upstream(message: impl Into<String>) -> Self {
        Self {
            status: 502,
            kind: "server_error".to_owned(),
            code: Some("upstream_error".to_owned()),
            param: None,
            message: message.into(),
            retry_ms: None,
        }
    }
}
