//! The wire format of each provider. One file per provider implements [`Dialect`]; its bodies follow the recorded ones.

pub(super) mod cerebras;
pub(super) mod cohere;
pub(super) mod gemini;
pub(super) mod groq;
mod json;
pub(super) mod mistral;
pub(super) mod ollama;
pub(super) mod request_checks;

use json::{Json, object};
use request_checks::RequestError;

use crate::simulator::{
    accounting::{
        limit::LimitName,
        window::{LimitHit, LimitStatus},
    },
    completion::{Completion, Finish},
    provider::{Model, Provider},
    request::SimulatedRequest,
};

/// Header names and values, in the order they are sent.
pub(crate) type Headers = Vec<(&'static str, String)>;

/// An error response, ready to be sent.
#[derive(Debug)]
pub(crate) struct ErrorReply {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    pub content_type: &'static str,
}

impl ErrorReply {
    pub(crate) fn json(status: u16, body: &Json) -> Self {
        Self { status, headers: Vec::new(), body: body.text(), content_type: "application/json" }
    }

    /// The 403 of Cloudflare's bot filter in front of a provider.
    pub(crate) fn bot_filter() -> Self {
        Self {
            status: 403,
            headers: vec![("server", "cloudflare".into())],
            body: "error code: 1010\n".into(),
            content_type: "text/plain; charset=UTF-8",
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, headers: Headers) -> Self {
        self.headers.extend(headers);
        self
    }
}

/// One event of a stream.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    pub text: String,
    /// Sent one chunk interval after the previous event; otherwise right behind it.
    pub paced: bool,
    /// Output tokens in it.
    pub tokens: i64,
}

impl StreamEvent {
    pub(crate) fn immediate(data: &Json) -> Self {
        Self { text: format!("data: {}\n\n", data.text()), paced: false, tokens: 0 }
    }

    pub(crate) fn paced(data: &Json, tokens: i64) -> Self {
        Self { paced: true, tokens, ..Self::immediate(data) }
    }

    pub(crate) fn done() -> Self {
        Self { text: "data: [DONE]\n\n".to_owned(), paced: false, tokens: 0 }
    }
}

/// One provider's wire format.
pub(crate) trait Dialect: Sync {
    /// Path prefix of the API, as in its base URL.
    fn prefix(&self) -> &'static str;
    /// Removes from a request what the provider ignores.
    fn ignore(&self, _model: &Model, _request: &mut SimulatedRequest) {}
    /// The first thing that is wrong with a request.
    fn check(&self, provider: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError>;
    /// The response to a request that is at fault.
    fn request_error(&self, provider: &Provider, error: &RequestError) -> ErrorReply;
    /// The response to a request that a limit refuses.
    fn limit_error(&self, provider: &Provider, model: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply;
    /// Headers of a successful response.
    fn headers(&self, statuses: &[LimitStatus], completion: &Completion) -> Headers;
    /// The body of a response without streaming.
    fn whole(&self, provider: &Provider, completion: &Completion) -> String;
    /// The events of a streamed response.
    fn events(&self, provider: &Provider, completion: &Completion) -> Vec<StreamEvent>;
    /// The body of `GET /models`.
    fn models(&self, provider: &Provider, created: i64) -> String;
}

/// The simulated providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialectName {
    Groq,
    Gemini,
    Cerebras,
    Mistral,
    Ollama,
    Cohere,
}

impl DialectName {
    pub(crate) fn from_provider(id: &str) -> Option<Self> {
        Some(match id {
            "groq" => Self::Groq,
            "gemini" => Self::Gemini,
            "cerebras" => Self::Cerebras,
            "mistral" => Self::Mistral,
            "ollama" => Self::Ollama,
            "cohere" => Self::Cohere,
            _ => return None,
        })
    }

    pub(crate) fn implementation(self) -> &'static dyn Dialect {
        match self {
            Self::Groq => &groq::Groq,
            Self::Gemini => &gemini::Gemini,
            Self::Cerebras => &cerebras::Cerebras,
            Self::Mistral => &mistral::Mistral,
            Self::Ollama => &ollama::Ollama,
            Self::Cohere => &cohere::Cohere,
        }
    }
}

/// The body of a model list.
fn list(entries: impl Iterator<Item = Json>) -> String {
    object! { "object": "list", "data": Json::list(entries) }.text()
}

/// The tool calls of a completion, each built from its function and its position.
fn tool_calls(completion: &Completion, build: impl Fn(Json, u64) -> Json) -> Option<Json> {
    let calls = completion.calls.iter().zip(0..).map(|(call, at)| {
        let function = object! { "name": &call.name, "arguments": &call.arguments };
        build(function, at)
    });
    (!completion.calls.is_empty()).then(|| Json::list(calls))
}

/// A text of pieces, or nothing.
fn joined(pieces: &[String]) -> Option<String> {
    (!pieces.is_empty()).then(|| pieces.concat())
}

/// Seconds with four decimals, as the providers write their timings.
fn seconds(ms: f64) -> f64 {
    (ms * 10.0).round() / 10_000.0
}

/// OpenAI's word for the end of a completion.
fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Safety => "content_filter",
    }
}

/// Names of the headers for the limit, the remaining units and the reset of one limit; no reset where the name is empty.
type LimitHeaders = (LimitName, [&'static str; 3]);

fn rate_limit_headers(
    statuses: &[LimitStatus],
    names: &[LimitHeaders],
    reset: impl Fn(&LimitStatus) -> String,
) -> Headers {
    let mut headers = Headers::new();
    for (name, [limit, remaining, reset_name]) in names {
        // The limits of the model come after those of the account.
        let Some(status) = statuses.iter().rev().find(|status| status.name == *name) else { continue };
        headers.push((limit, status.max.to_string()));
        headers.push((remaining, status.remaining.to_string()));
        if !reset_name.is_empty() {
            headers.push((reset_name, reset(status)));
        }
    }
    headers
}

/// A duration in Go's notation, cut to 0.1 ms as at Groq: `1h4m48s`, `2m59.56s`, `922.5ms`, `0s`.
fn go_duration(us: i64) -> String {
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
fn seconds_up(us: i64) -> i64 {
    us.max(0).div_euclid(1_000_000) + i64::from(us.max(0) % 1_000_000 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_notation_of_go() {
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
