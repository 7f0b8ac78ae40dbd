//! Metrics, with OpenTelemetry's names where the conventions define some. The values of every label form a closed set, which
//! callers cannot extend.

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
pub(crate) use gauges::{Breaker, Budget, GaugeSource, observe};

/// Label of a requested model that does not exist.
pub(crate) const OTHER: &str = "other";
/// Model label of a limit or breaker that covers all models of its account or provider.
pub(crate) const ALL_MODELS: &str = "*";

/// Label of the client's protocol: `chat`, `messages` or `responses`.
const PROTOCOL: &str = "tollfree.protocol";

/// HTTP methods; any other is `_OTHER`.
const METHODS: [&str; 10] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT", "CONNECT", "TRACE", "_OTHER"];
static ACTIVE: [AtomicI64; METHODS.len()] = [const { AtomicI64::new(0) }; METHODS.len()];
/// Chat requests in flight.
static CHATS: AtomicI64 = AtomicI64::new(0);
static JOURNAL_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Index into [`METHODS`], route, and status.
type Served = (usize, Option<Cow<'static, str>>, Option<u16>);

/// Values of each protocol.
type ByProtocol<T> = Memo<&'static str, T>;

/// An active HTTP request; it ends on drop.
#[derive(Debug)]
pub(crate) struct Active(usize);

impl Active {
    pub(crate) fn enter(method: &str) -> Self {
        let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        ACTIVE[at].fetch_add(1, Ordering::Relaxed);
        Self(at)
    }

    /// The HTTP method, or `_OTHER`.
    pub(crate) fn method(&self) -> &'static str {
        METHODS[self.0]
    }

    /// Records the end of the request. `error` comes from a closed set.
    pub(crate) fn ended(
        &self,
        route: Option<Cow<'static, str>>,
        status: Option<u16>,
        error: Option<String>,
        took: Duration,
    ) {
        static SERVED: LazyLock<Memo<Served, Bound<f64>>> = LazyLock::new(Memo::default);
        let (duration, took) = (&instruments().http_request, took.as_secs_f64());
        let served = (self.0, route, status);
        match error {
            None => SERVED.get_or_create(&served, Bound::default).record(duration, || self.labels(&served, None), took),
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

/// A chat request in flight, from its arrival until its last byte; it ends on drop.
#[derive(Debug)]
pub(crate) struct InFlight(());

impl InFlight {
    pub(crate) fn enter() -> Self {
        CHATS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        CHATS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Metrics of the calls to one model of a provider, for the clients of one protocol.
#[derive(Debug)]
pub(crate) struct Call {
    labels: [KeyValue; 4],
    duration: Bound<f64>,
    first_chunk: Bound<f64>,
    input: Bound<u64>,
    output: Bound<u64>,
}

impl Call {
    /// `name` is `provider/model`; `labels` returns the names of both in the semantic conventions. A model has one operation.
    pub(crate) fn of(
        protocol: &'static str,
        name: &str,
        operation: &'static str,
        labels: impl FnOnce() -> (Arc<str>, Arc<str>),
    ) -> Arc<Self> {
        static CALLS: LazyLock<ByProtocol<Memo<String, Call>>> = LazyLock::new(Memo::default);
        CALLS.get_or_create(&protocol, Memo::default).get_or_create(name, || {
            let (provider, model) = labels();
            let labels = [
                KeyValue::new("gen_ai.operation.name", operation),
                KeyValue::new("gen_ai.provider.name", provider),
                KeyValue::new("gen_ai.request.model", model),
                KeyValue::new(PROTOCOL, protocol),
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

    /// `error` is an attempt's label, which comes from a closed set.
    pub(crate) fn ended(&self, error: Option<&str>, took: Duration) {
        let (duration, took) = (&instruments().call_duration, took.as_secs_f64());
        match error {
            None => self.duration.record(duration, || self.labels.clone(), took),
            Some(error) => duration.record(took, &self.and("error.type", error.to_owned())),
        }
    }

    /// Records the time to a stream's first chunk.
    pub(crate) fn first_chunk(&self, took: Duration) {
        self.first_chunk.record(&instruments().call_first_chunk, || self.labels.clone(), took.as_secs_f64());
    }

    /// `cached` are those of the input that the provider had in its cache.
    pub(crate) fn tokens_used(&self, input: i64, output: i64, cached: i64) {
        for (kind, bound, tokens) in [("input", &self.input, input), ("output", &self.output, output)] {
            let tokens = u64::try_from(tokens).unwrap_or(0);
            bound.record(&instruments().call_tokens, || self.and("gen_ai.token.type", kind), tokens);
        }
        if let Ok(cached @ 1..) = u64::try_from(cached) {
            instruments().cached_tokens.add(cached, &self.labels);
        }
    }

    fn and(&self, key: &'static str, value: impl Into<opentelemetry::Value>) -> [KeyValue; 5] {
        let [operation, provider, model, protocol] = self.labels.clone();
        [operation, provider, model, protocol, KeyValue::new(key, value)]
    }
}

/// Metrics of one chat request: the requested name (or [`OTHER`]) and the provider that replied, if any.
#[derive(Debug)]
pub(crate) struct Chat {
    protocol: &'static str,
    operation: &'static str,
    model: Arc<str>,
    served: Option<Arc<ServedChat>>,
}

/// Instruments of the requests for one name that one provider served.
#[derive(Debug)]
struct ServedChat {
    labels: [KeyValue; 4],
    first_token: Bound<f64>,
    duration: Bound<f64>,
}

impl Chat {
    /// `model` is a name that is served, or `None`.
    pub(crate) fn new(protocol: &'static str, model: Option<&str>, operation: &'static str) -> Self {
        Self { protocol, operation, model: model.unwrap_or(OTHER).into(), served: None }
    }

    /// Records the first content. `label` returns the provider's name in the semantic conventions.
    pub(crate) fn first_token(&mut self, provider: &str, label: impl FnOnce() -> Arc<str>, took: Duration) {
        static CHATS: LazyLock<ByProtocol<Memo<String, Memo<String, ServedChat>>>> = LazyLock::new(Memo::default);
        let of_model = CHATS.get_or_create(&self.protocol, Memo::default).get_or_create(&*self.model, Memo::default);
        let served = of_model.get_or_create(provider, || ServedChat {
            labels: self.labels(label().into()),
            first_token: Bound::default(),
            duration: Bound::default(),
        });
        let first_token = &instruments().chat_first_token;
        served.first_token.record(first_token, || served.labels.clone(), took.as_secs_f64());
        self.served = Some(served);
    }

    /// Records the end of the request. `error` is the HTTP status of a failure.
    pub(crate) fn ended(&self, error: Option<u16>, took: Duration) {
        let (duration, took) = (&instruments().chat_duration, took.as_secs_f64());
        match (&self.served, error) {
            (Some(served), None) => served.duration.record(duration, || served.labels.clone(), took),
            (served, error) => {
                let labels = served.as_ref().map(|served| served.labels.clone());
                let mut labels = labels.unwrap_or_else(|| self.labels("tollfree".into())).to_vec();
                labels.extend(error.map(|status| KeyValue::new("error.type", status.to_string())));
                duration.record(took, &labels);
            }
        }
    }

    fn labels(&self, provider: StringValue) -> [KeyValue; 4] {
        [
            KeyValue::new("gen_ai.operation.name", self.operation),
            KeyValue::new("gen_ai.provider.name", provider),
            KeyValue::new("gen_ai.request.model", self.model.clone()),
            KeyValue::new(PROTOCOL, self.protocol),
        ]
    }
}

/// Counts journal records that were lost because the ledger was unreachable for too long.
pub(crate) fn journal_dropped(records: u64) {
    JOURNAL_DROPPED.fetch_add(records, Ordering::Relaxed);
}
