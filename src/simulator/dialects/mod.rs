//! What each provider writes on the wire. One file per provider implements [`Dialect`]; shapes come from `wire/`.

pub(super) mod cerebras;
pub(super) mod gemini;
pub(super) mod groq;
pub(super) mod mistral;
pub(super) mod ollama;
pub(super) mod request_checks;

use cerebras::Cerebras;
use gemini::Gemini;
use groq::Groq;
use mistral::Mistral;
use ollama::Ollama;
use request_checks::RequestError;

use crate::simulator::{
    accounting::window::{LimitHit, LimitStatus},
    completion::Completion,
    provider::{Model, Provider},
    request::SimulatedRequest,
};

/// Header names and values, in the order they are sent.
pub(super) type Headers = Vec<(&'static str, String)>;

/// A reply, ready for the wire.
#[derive(Debug)]
pub(super) struct ErrorReply {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    pub content_type: &'static str,
}

impl ErrorReply {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body, content_type: "application/json" }
    }

    #[must_use]
    pub(super) fn with(mut self, headers: Headers) -> Self {
        self.headers.extend(headers);
        self
    }
}

/// One piece of a stream, with the wait before it.
#[derive(Debug)]
pub(super) struct Event {
    pub text: String,
    /// Comes one chunk's time after its predecessor; else at once behind it.
    pub paced: bool,
    /// Output tokens in it.
    pub tokens: i64,
}

impl Event {
    /// `data: …` behind its predecessor.
    pub(super) fn at_once(data: &str) -> Self {
        Self { text: format!("data: {data}\n\n"), paced: false, tokens: 0 }
    }

    /// `data: …` one chunk's time later.
    pub(super) fn paced(data: &str, tokens: i64) -> Self {
        Self { text: format!("data: {data}\n\n"), paced: true, tokens }
    }

    pub(super) fn done() -> Self {
        Self::at_once("[DONE]")
    }
}

/// One provider's way of speaking.
pub(super) trait Dialect: Sync {
    /// Path prefix of its API, as in its base URL.
    fn prefix(&self) -> &'static str;
    /// What the provider ignores in a request is taken out of it.
    fn ignore(&self, _model: &Model, _ask: &mut SimulatedRequest) {}
    /// What is wrong with the request, if anything; first things first.
    fn check(&self, provider: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError>;
    /// The reply of a request that is at fault.
    fn request_error(&self, provider: &Provider, request_error: &RequestError) -> ErrorReply;
    /// The reply of a request that found no room.
    fn limit_error(&self, provider: &Provider, model: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply;
    /// Headers of an answer that was admitted.
    fn headers(&self, statuses: &[LimitStatus], answer: &Completion) -> Headers;
    /// A whole answer.
    fn whole(&self, provider: &Provider, answer: &Completion) -> String;
    /// A streamed answer.
    fn events(&self, provider: &Provider, answer: &Completion) -> Vec<Event>;
    /// `GET /models`.
    fn models(&self, provider: &Provider, created: i64) -> String;
}

/// The providers that are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialectName {
    Groq,
    Gemini,
    Cerebras,
    Mistral,
    Ollama,
}

impl DialectName {
    pub(super) fn of(id: &str) -> Option<Self> {
        Some(match id {
            "groq" => Self::Groq,
            "gemini" => Self::Gemini,
            "cerebras" => Self::Cerebras,
            "mistral" => Self::Mistral,
            "ollama" => Self::Ollama,
            _ => return None,
        })
    }

    pub(super) fn implementation(self) -> &'static dyn Dialect {
        match self {
            Self::Groq => &Groq,
            Self::Gemini => &Gemini,
            Self::Cerebras => &Cerebras,
            Self::Mistral => &Mistral,
            Self::Ollama => &Ollama,
        }
    }
}

/// A JSON string literal.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Go's way of writing a duration: `1h4m48s`, `2m59.56s`, `922.5ms`, `0s`. Cut to 0.1 ms as Groq does.
pub(super) fn go_duration(us: i64) -> String {
    let tenths = us.max(0) / 100;
    let point = |whole: i64, fraction: i64, digits: usize| {
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    match tenths {
        0 => "0s".to_owned(),
        1..10_000 => format!("{}ms", point(tenths / 10, tenths % 10, 1)),
        _ => {
            let (minutes, rest) = (tenths / 600_000, tenths % 600_000);
            let seconds = format!("{}s", point(rest / 10_000, rest % 10_000, 4));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds_up(us: i64) -> i64 {
    us.max(0).div_euclid(1_000_000) + i64::from(us.max(0) % 1_000_000 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (us, text) in [
            (3_405_000, "3.405s"),
            (922_500, "922.5ms"),
            (0, "0s"),
            (86_400_000, "1m26.4s"),
            (371_520_000, "6m11.52s"),
            (3_888_000_000, "1h4m48s"),
            (86_400_000_000, "24h0m0s"),
            (19_432_500, "19.4325s"),
            (2_000_000, "2s"),
        ] {
            assert_eq!(go_duration(us), text);
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!([0, 1, 3_405_000, 2_000_000].map(seconds_up), [0, 1, 4, 2]);
    }
}
