//! Observable gauges, read at each collection: budgets, breakers, the ledger, and requests in flight.

use std::sync::{Arc, atomic::Ordering};

use opentelemetry::{KeyValue, metrics::AsyncInstrument};

use super::{ACTIVE, CHATS, JOURNAL_DROPPED, METHODS, instruments::meter};
use crate::telemetry;

/// One window of one account, as in the latest pool snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budget {
    pub provider: Arc<str>,
    pub account: Arc<str>,
    /// [`super::ALL_MODELS`] for a limit over all models of the account.
    pub model: Arc<str>,
    pub limit: &'static str,
    pub max: i64,
    pub left: i64,
}

/// A provider's breaker, or one of its models'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub provider: Arc<str>,
    /// [`super::ALL_MODELS`] for the provider's own breaker.
    pub model: Arc<str>,
    /// 0 closed, 1 half open, 2 open.
    pub state: i64,
}

/// Source of the gauges' values. It must not call the ledger.
pub(crate) trait GaugeSource: Send + Sync + 'static {
    fn budgets(&self) -> Vec<Budget>;
    fn breakers(&self) -> Vec<Breaker>;
    /// Number of provider keys in the store, by state.
    fn provider_keys(&self) -> Vec<(&'static str, usize)>;
    /// Provider, `new`, `gone` or `refused`, and the number of models in which it differs from the catalogue.
    fn found_models(&self) -> Vec<(String, &'static str, usize)>;
    /// Whether the ledger's last call succeeded.
    fn ledger_is_up(&self) -> bool;
}

/// Registers the gauges; every collection reads from `source`.
pub(crate) fn observe(source: &Arc<impl GaugeSource>) {
    let meter = meter();
    let gauge = |name: &'static str, what: &'static str| meter.i64_observable_gauge(name).with_description(what);

    let read_from = source.clone();
    gauge("tollfree.budget.remaining", "Units of a provider's window that are left.")
        .with_callback(move |observer| observe_budgets(observer, &*read_from, |budget| budget.left))
        .build();
    let read_from = source.clone();
    gauge("tollfree.budget.limit", "Units that a provider's window holds.")
        .with_callback(move |observer| observe_budgets(observer, &*read_from, |budget| budget.max))
        .build();
    let read_from = source.clone();
    gauge("tollfree.breaker.state", "0 closed, 1 half open, 2 open. The model * is the provider itself.")
        .with_callback(move |observer| observe_breakers(observer, &*read_from))
        .build();
    let read_from = source.clone();
    gauge(
        "tollfree.provider.keys",
        "Provider keys in the store, by state. An unreadable one is opened by no master key.",
    )
    .with_callback(move |observer| {
        for (state, keys) in read_from.provider_keys() {
            observer.observe(i64::try_from(keys).unwrap_or(i64::MAX), &[KeyValue::new("state", state)]);
        }
    })
    .build();
    let read_from = source.clone();
    gauge(
        "tollfree.provider.models",
        "Models in which a provider differs from the catalogue: new or gone by its list, refused by its answers.",
    )
    .with_callback(move |observer| {
        for (provider, change, models) in read_from.found_models() {
            let labels = [KeyValue::new("provider", provider), KeyValue::new("change", change)];
            observer.observe(i64::try_from(models).unwrap_or(i64::MAX), &labels);
        }
    })
    .build();
    let read_from = source.clone();
    gauge("tollfree.ledger.up", "1 while the ledger is reachable.")
        .with_callback(move |observer| observer.observe(i64::from(read_from.ledger_is_up()), &[]))
        .build();
    gauge("tollfree.requests.in_flight", "Chat requests in flight.")
        .with_callback(|observer| observer.observe(CHATS.load(Ordering::Relaxed), &[]))
        .build();
    gauge("tollfree.requests.waiting", "Requests in the wait queue.")
        .with_callback(|observer| observer.observe(telemetry::queue_length(), &[]))
        .build();
    meter
        .i64_observable_up_down_counter("http.server.active_requests")
        .with_unit("{request}")
        .with_description("Number of active HTTP server requests.")
        .with_callback(observe_active)
        .build();
    let counter = |name: &'static str, what: &'static str| meter.u64_observable_counter(name).with_description(what);
    counter("tollfree.journal.dropped", "Journal records that were lost.")
        .with_callback(|observer| observer.observe(JOURNAL_DROPPED.load(Ordering::Relaxed), &[]))
        .build();
    counter("tollfree.telemetry.dropped", "Spans, log records and metric collections that no collector accepted.")
        .with_callback(|observer| {
            for (signal, dropped) in telemetry::dropped() {
                observer.observe(dropped, &[KeyValue::new("signal", signal)]);
            }
        })
        .build();
}

fn observe_budgets(observer: &dyn AsyncInstrument<i64>, source: &impl GaugeSource, read: fn(&Budget) -> i64) {
    for budget in source.budgets() {
        let labels = [
            KeyValue::new("provider", budget.provider.clone()),
            KeyValue::new("account", budget.account.clone()),
            KeyValue::new("model", budget.model.clone()),
            KeyValue::new("limit", budget.limit),
        ];
        observer.observe(read(&budget), &labels);
    }
}

fn observe_breakers(observer: &dyn AsyncInstrument<i64>, source: &impl GaugeSource) {
    for Breaker { provider, model, state } in source.breakers() {
        observer.observe(state, &[KeyValue::new("provider", provider), KeyValue::new("model", model)]);
    }
}

fn observe_active(observer: &dyn AsyncInstrument<i64>) {
    for (method, active) in METHODS.iter().zip(&ACTIVE) {
        let labels = [KeyValue::new("http.request.method", *method), KeyValue::new("url.scheme", "http")];
        observer.observe(active.load(Ordering::Relaxed), &labels);
    }
}
