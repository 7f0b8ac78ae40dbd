//! What is counted and measured, by OpenTelemetry's names where it has some. Every label's values form a closed set: what a
//! caller invents is never one of them.

mod instruments;
mod watched;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::KeyValue;

use instruments::instruments;
pub use watched::{Breaker, Budget, Watch, watch};

/// A name that callers may ask for and nobody serves.
pub const OTHER: &str = "other";
/// Where a label names a model: all of the account, or of the provider.
pub const EVERY: &str = "*";

/// The methods of HTTP; any other is `_OTHER`.
const METHODS: [&str; 10] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT", "CONNECT", "TRACE", "_OTHER"];
static ACTIVE: [AtomicI64; METHODS.len()] = [const { AtomicI64::new(0) }; METHODS.len()];
/// Chats from their first byte to their last.
static CHATS: AtomicI64 = AtomicI64::new(0);
static JOURNAL_DROPPED: AtomicU64 = AtomicU64::new(0);

/// An HTTP request that is being served, until it is dropped.
#[derive(Debug)]
pub struct Active(usize);

impl Active {
    pub fn enter(method: &str) -> Self {
        let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        ACTIVE[at].fetch_add(1, Ordering::Relaxed);
        Self(at)
    }

    /// Of HTTP's, or `_OTHER`.
    pub fn method(&self) -> &'static str {
        METHODS[self.0]
    }

    /// It was served to its end. `error`: of a closed set.
    pub fn ended(&self, route: Option<Cow<'static, str>>, status: Option<u16>, error: Option<String>, took: Duration) {
        let mut labels = Vec::with_capacity(5);
        labels.push(KeyValue::new("http.request.method", self.method()));
        labels.push(KeyValue::new("url.scheme", "http"));
        labels.extend(route.map(|route| KeyValue::new("http.route", route)));
        labels.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        labels.extend(error.map(|error| KeyValue::new("error.type", error)));
        instruments().http_request.record(took.as_secs_f64(), &labels);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE[self.0].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A chat in flight, from when it was read until its last byte is gone: then it is dropped.
#[derive(Debug)]
pub struct InFlight(());

impl InFlight {
    pub fn enter() -> Self {
        CHATS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        CHATS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One call of one model at its provider.
#[derive(Debug)]
pub struct Call([KeyValue; 3]);

impl Call {
    /// `provider` by the conventions' name for it.
    pub fn new(provider: Arc<str>, model: Arc<str>) -> Self {
        Self([
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", provider),
            KeyValue::new("gen_ai.request.model", model),
        ])
    }

    /// `error`: of the closed set of an attempt's labels.
    pub fn ended(&self, error: Option<&str>, took: Duration) {
        let duration = &instruments().call_duration;
        match error {
            None => duration.record(took.as_secs_f64(), &self.0),
            Some(error) => duration.record(took.as_secs_f64(), &self.and("error.type", error.to_owned())),
        }
    }

    /// Of a stream.
    pub fn first_chunk(&self, took: Duration) {
        instruments().call_first_chunk.record(took.as_secs_f64(), &self.0);
    }

    pub fn used(&self, input: i64, output: i64) {
        for (kind, tokens) in [("input", input), ("output", output)] {
            let tokens = u64::try_from(tokens).unwrap_or(0);
            instruments().call_tokens.record(tokens, &self.and("gen_ai.token.type", kind));
        }
    }

    fn and(&self, key: &'static str, value: impl Into<opentelemetry::Value>) -> [KeyValue; 4] {
        let [operation, provider, model] = self.0.clone();
        [operation, provider, model, KeyValue::new(key, value)]
    }
}

/// One chat as its caller saw it: what was asked (a name that is served, else [`OTHER`]), and who answered, if anybody did.
#[derive(Debug)]
pub struct Chat {
    pub asked: Arc<str>,
    pub provider: Option<Arc<str>>,
}

impl Chat {
    /// Its first content was there.
    pub fn first_token(&self, took: Duration) {
        instruments().chat_first_token.record(took.as_secs_f64(), &self.labels());
    }

    /// `error`: the status that tells it.
    pub fn ended(&self, error: Option<u16>, took: Duration) {
        let mut labels = self.labels();
        labels.extend(error.map(|status| KeyValue::new("error.type", status.to_string())));
        instruments().chat_duration.record(took.as_secs_f64(), &labels);
    }

    fn labels(&self) -> Vec<KeyValue> {
        let provider = self.provider.clone().map_or("tollfree".into(), opentelemetry::StringValue::from);
        let mut labels = Vec::with_capacity(4);
        labels.push(KeyValue::new("gen_ai.operation.name", "chat"));
        labels.push(KeyValue::new("gen_ai.provider.name", provider));
        labels.push(KeyValue::new("gen_ai.request.model", self.asked.clone()));
        labels
    }
}

/// Lines of the journal that were lost because the ledger was away for too long.
pub fn journal_dropped(lines: u64) {
    JOURNAL_DROPPED.fetch_add(lines, Ordering::Relaxed);
}
