//! What is not told but looked at, whenever somebody collects: budgets, breakers, the ledger, and who is here now.

use std::sync::{Arc, atomic::Ordering};

use opentelemetry::{KeyValue, metrics::AsyncInstrument};

use super::{ACTIVE, CHATS, JOURNAL_DROPPED, METHODS, instruments::meter};
use crate::telemetry;

/// One window of one account, as the last look at the pool found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
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
pub struct Breaker {
    pub provider: Arc<str>,
    /// [`super::ALL_MODELS`] for the provider's own.
    pub model: Arc<str>,
    /// 0 closed, 1 half open, 2 open.
    pub state: i64,
}

/// Where to look. Nothing here may ask the ledger's host.
pub trait GaugeSource: Send + Sync + 'static {
    fn budgets(&self) -> Vec<Budget>;
    fn breakers(&self) -> Vec<Breaker>;
    /// The ledger answered its last call.
    fn ledger_is_up(&self) -> bool;
}

/// From here on every collection looks there.
pub fn observe(at: &Arc<impl GaugeSource>) {
    let meter = meter();
    let gauge = |name: &'static str, what: &'static str| meter.i64_observable_gauge(name).with_description(what);

    let here = at.clone();
    gauge("tollfree.budget.remaining", "Units of a provider's window that are left.")
        .with_callback(move |told| observe_budgets(told, &*here, |budget| budget.left))
        .build();
    let here = at.clone();
    gauge("tollfree.budget.limit", "Units that a provider's window holds.")
        .with_callback(move |told| observe_budgets(told, &*here, |budget| budget.max))
        .build();
    let here = at.clone();
    gauge("tollfree.breaker.state", "0 closed, 1 half open, 2 open. The model * is the provider itself.")
        .with_callback(move |told| observe_breakers(told, &*here))
        .build();
    let here = at.clone();
    gauge("tollfree.ledger.up", "1 while the ledger answers.")
        .with_callback(move |told| told.observe(i64::from(here.ledger_is_up()), &[]))
        .build();
    gauge("tollfree.chats.in_flight", "Chats from their first byte to their last.")
        .with_callback(|told| told.observe(CHATS.load(Ordering::Relaxed), &[]))
        .build();
    gauge("tollfree.chats.waiting", "Callers who wait for room.")
        .with_callback(|told| told.observe(telemetry::queue_length(), &[]))
        .build();
    meter
        .i64_observable_up_down_counter("http.server.active_requests")
        .with_unit("{request}")
        .with_description("Number of active HTTP server requests.")
        .with_callback(observe_active)
        .build();
    let counter = |name: &'static str, what: &'static str| meter.u64_observable_counter(name).with_description(what);
    counter("tollfree.journal.dropped", "Lines of the journal that were lost.")
        .with_callback(|told| told.observe(JOURNAL_DROPPED.load(Ordering::Relaxed), &[]))
        .build();
    counter("tollfree.telemetry.dropped", "Spans, log lines and collections that no collector took.")
        .with_callback(|told| {
            for (signal, lost) in telemetry::dropped() {
                told.observe(lost, &[KeyValue::new("signal", signal)]);
            }
        })
        .build();
}

fn observe_budgets(told: &dyn AsyncInstrument<i64>, at: &impl GaugeSource, read: fn(&Budget) -> i64) {
    for budget in at.budgets() {
        let labels = [
            KeyValue::new("provider", budget.provider.clone()),
            KeyValue::new("account", budget.account.clone()),
            KeyValue::new("model", budget.model.clone()),
            KeyValue::new("limit", budget.limit),
        ];
        told.observe(read(&budget), &labels);
    }
}

fn observe_breakers(told: &dyn AsyncInstrument<i64>, at: &impl GaugeSource) {
    for Breaker { provider, model, state } in at.breakers() {
        told.observe(state, &[KeyValue::new("provider", provider), KeyValue::new("model", model)]);
    }
}

fn observe_active(told: &dyn AsyncInstrument<i64>) {
    for (method, active) in METHODS.iter().zip(&ACTIVE) {
        let labels = [KeyValue::new("http.request.method", *method), KeyValue::new("url.scheme", "http")];
        told.observe(active.load(Ordering::Relaxed), &labels);
    }
}
