//! What is counted and measured, by OpenTelemetry's names where it has some. Every label's values form a closed set: what a
//! caller invents is never one of them.

mod bound_instrument;
mod gauges;
mod instruments;

use std::{
    borrow::Cow,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, StringValue};

use self::{bound_instrument::Bound, instruments::instruments};
use crate::memo::Memo;
pub use gauges::{Breaker, Budget, GaugeSource, observe};

/// A name that callers may ask for and nobody serves.
pub const OTHER: &str = "other";
/// Where a label names a model: all of the account, or of the provider.
pub const ALL_MODELS: &str = "*";

/// The methods of HTTP; any other is `_OTHER`.
const METHODS: [&str; 10] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT", "CONNECT", "TRACE", "_OTHER"];
static ACTIVE: [AtomicI64; METHODS.len()] = [const { AtomicI64::new(0) }; METHODS.len()];
/// Chats from their first byte to their last.
static CHATS: AtomicI64 = AtomicI64::new(0);
static JOURNAL_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Which of [`METHODS`], the route, and the status.
type Served = (usize, Option<Cow<'static, str>>, Option<u16>);

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
        static SERVED: LazyLock<Memo<Served, Bound<f64>>> = LazyLock::new(Memo::default);
        let (duration, took) = (&instruments().http_request, took.as_secs_f64());
        let served = (self.0, route, status);
        match error {
            None => SERVED.of(&served, Bound::default).record(duration, || self.labels(&served, None), took),
            error => duration.record(took, &self.labels(&served, error)),
        }
    }

    fn labels(&self, (_, route, status): &Served, error: Option<String>) -> Vec<KeyValue> {
        let mut labels = Vec::with_capacity(5);
        labels.push(KeyValue::new("http.request.method", self.method()));
        labels.push(KeyValue::new("url.scheme", "http"));
        labels.extend(route.clone().map(|route| KeyValue::new("http.route", route)));
        labels.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        labels.extend(error.map(|error| KeyValue::new("error.type", error)));
        labels
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

/// Calls of one model at its provider.
#[derive(Debug)]
pub struct Call {
    labels: [KeyValue; 3],
    duration: Bound<f64>,
    first_chunk: Bound<f64>,
    input: Bound<u64>,
    output: Bound<u64>,
}

impl Call {
    /// `name` is `provider/model`; `labels` says what the conventions call these two.
    pub fn of(name: &str, labels: impl FnOnce() -> (Arc<str>, Arc<str>)) -> Arc<Self> {
        static CALLS: LazyLock<Memo<String, Call>> = LazyLock::new(Memo::default);
        CALLS.of(name, || {
            let (provider, model) = labels();
            let labels = [
                KeyValue::new("gen_ai.operation.name", "chat"),
                KeyValue::new("gen_ai.provider.name", provider),
                KeyValue::new("gen_ai.request.model", model),
            ];
            Self {
                labels,
                duration: Bound::default(),
                first_chunk: Bound::default(),
                input: Bound::default(),
                output: Bound::default(),
            }
        })
    }

    /// `error`: of the closed set of an attempt's labels.
    pub fn ended(&self, error: Option<&str>, took: Duration) {
        let (duration, took) = (&instruments().call_duration, took.as_secs_f64());
        match error {
            None => self.duration.record(duration, || self.labels.clone(), took),
            Some(error) => duration.record(took, &self.and("error.type", error.to_owned())),
        }
    }

    /// Of a stream.
    pub fn first_chunk(&self, took: Duration) {
        self.first_chunk.record(&instruments().call_first_chunk, || self.labels.clone(), took.as_secs_f64());
    }

    pub fn used(&self, input: i64, output: i64) {
        for (kind, bound, tokens) in [("input", &self.input, input), ("output", &self.output, output)] {
            let tokens = u64::try_from(tokens).unwrap_or(0);
            bound.record(&instruments().call_tokens, || self.and("gen_ai.token.type", kind), tokens);
        }
    }

    fn and(&self, key: &'static str, value: impl Into<opentelemetry::Value>) -> [KeyValue; 4] {
        let [operation, provider, model] = self.labels.clone();
        [operation, provider, model, KeyValue::new(key, value)]
    }
}

/// One chat as its caller saw it: what was asked (a name that is served, else [`OTHER`]), and who answered, if anybody did.
#[derive(Debug)]
pub struct Chat {
    asked: Arc<str>,
    answered: Option<Arc<Answered>>,
}

/// Chats that asked for the same and were answered by the same provider.
#[derive(Debug)]
struct Answered {
    labels: [KeyValue; 3],
    first_token: Bound<f64>,
    duration: Bound<f64>,
}

impl Chat {
    /// `asked` is a name that is served.
    pub fn new(asked: &str) -> Self {
        Self { asked: asked.into(), answered: None }
    }

    /// It was not.
    pub fn asked_other(&mut self) {
        self.asked = OTHER.into();
    }

    /// Its first content was there, by this provider; `label`: what the conventions call it.
    pub fn first_token(&mut self, provider: &str, label: impl FnOnce() -> Arc<str>, took: Duration) {
        static CHATS: LazyLock<Memo<String, Memo<String, Answered>>> = LazyLock::new(Memo::default);
        let answered = CHATS.of(&*self.asked, Memo::default).of(provider, || Answered {
            labels: self.labels(label().into()),
            first_token: Bound::default(),
            duration: Bound::default(),
        });
        let first_token = &instruments().chat_first_token;
        answered.first_token.record(first_token, || answered.labels.clone(), took.as_secs_f64());
        self.answered = Some(answered);
    }

    /// `error`: the status that tells it.
    pub fn ended(&self, error: Option<u16>, took: Duration) {
        let (duration, took) = (&instruments().chat_duration, took.as_secs_f64());
        match (&self.answered, error) {
            (Some(answered), None) => answered.duration.record(duration, || answered.labels.clone(), took),
            (answered, error) => {
                let labels = answered.as_ref().map(|answered| answered.labels.clone());
                let mut labels = labels.unwrap_or_else(|| self.labels("tollfree".into())).to_vec();
                labels.extend(error.map(|status| KeyValue::new("error.type", status.to_string())));
                duration.record(took, &labels);
            }
        }
    }

    fn labels(&self, provider: StringValue) -> [KeyValue; 3] {
        [
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", provider),
            KeyValue::new("gen_ai.request.model", self.asked.clone()),
        ]
    }
}

/// Lines of the journal that were lost because the ledger was away for too long.
pub fn journal_dropped(lines: u64) {
    JOURNAL_DROPPED.fetch_add(lines, Ordering::Relaxed);
}
