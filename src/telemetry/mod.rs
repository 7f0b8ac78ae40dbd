//! What operators look at: the log, traces, metrics. Keys, prompts and replies are never in any of it.
//!
//! The log goes to the standard error. Traces, metrics and log lines go to an OTLP collector where one is named; metrics can
//! be scraped in any case. A collector that is slow or gone costs lost spans and lines, never a request.

mod collector;
mod export;
mod ledger;
mod log_format;
mod scope;
mod settings;
mod spans;

use std::{
    io::{IsTerminal, stderr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use parking_lot::Mutex;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, Targets, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub(crate) use self::spans::span;
use self::{collector::ExportQueue, export::Providers};
pub use self::{
    export::{Post, Posted},
    ledger::{AdmitSpan, Database, QueueWait, queue_length, script, set_database},
    scope::{RequestScope, RequestScopeGuard, is_traced, trace_id},
    settings::{Batching, Protocol, Sampler, Settings, Target},
    spans::{SpanExt, TARGET},
};

/// Libraries that carry our own lines to the collector: what they say of that must not be carried, too.
const CARRIERS: [&str; 7] = ["h2", "hyper", "opentelemetry", "reqwest", "rustls", "tonic", "tower"];

/// What a scrape reads, and how the lines to the collector stand; there once telemetry has been started.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    registry: prometheus::Registry,
    lines: Vec<Arc<ExportQueue>>,
}

/// Telemetry as it runs. [`Telemetry::finish`] sends what is left.
pub struct Telemetry(Mutex<Option<Providers>>);

/// Sets the log up for the whole process, on the standard error (JSON lines, or lines for people), and what leaves the
/// process. `level` is an `EnvFilter` directive: `info`, `tollfree=debug,warn`. Must be called on the runtime.
pub fn start(level: &str, json: bool, settings: &Settings, post: &Post) -> Result<Telemetry, String> {
    let filter = || EnvFilter::try_new(quietly(level)).map_err(|e| format!("LOG_LEVEL `{level}`: {e}"));
    let providers = Providers::start(settings, post)?;
    let lines = fmt::layer().with_writer(stderr).with_ansi(!json && stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        Box::new(lines.event_format(log_format::Json))
    } else {
        Box::new(lines.event_format(log_format::Text))
    };
    let set = if providers.traces.is_none() && providers.logs.is_none() {
        // One filter before everything: cheaper than one for each layer.
        tracing_subscriber::registry().with(lines).with(filter()?).try_init()
    } else {
        let traces = providers.traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("tollfree"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_target(TARGET, LevelFilter::ERROR))
        });
        let logs = match &providers.logs {
            Some(provider) => {
                let ours = filter_fn(|line| !CARRIERS.iter().any(|carrier| line.target().starts_with(carrier)));
                Some(OpenTelemetryTracingBridge::new(provider).with_filter(ours).with_filter(filter()?))
            }
            None => None,
        };
        tracing_subscriber::registry().with(lines.with_filter(filter()?)).with(traces).with(logs).try_init()
    };
    set.map_err(|e| e.to_string())?;
    if providers.traces.is_some() {
        scope::trace_from_now_on();
    }
    opentelemetry::global::set_meter_provider(providers.metrics.clone());
    let _ = RUNNING.set(Running { registry: providers.registry.clone(), lines: providers.lines.clone() });
    Ok(Telemetry(Mutex::new(Some(providers))))
}

impl Telemetry {
    /// Sends what is left, and waits no longer than `bound`. Blocks: not for a thread that serves.
    pub fn finish(&self, bound: Duration) {
        let providers = self.0.lock().take();
        if let Some(providers) = providers {
            providers.finish(bound);
        }
    }
}

/// Every metric in Prometheus's text format; empty where telemetry was not started.
pub fn scrape() -> String {
    let Some(running) = RUNNING.get() else { return String::new() };
    let families = running.registry.gather();
    prometheus::TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

/// Signals that have a collector, and what of each was lost on the way there.
pub fn dropped() -> Vec<(&'static str, u64)> {
    RUNNING.get().into_iter().flat_map(|running| &running.lines).map(|line| (line.signal, line.lost())).collect()
}

/// Libraries announce their inner works at `info`: that is for those who ask for it by name. Spans are no lines, and what
/// becomes of the collector is told by us.
fn quietly(level: &str) -> String {
    let own = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off,opentelemetry-prometheus=off";
    format!("actix_server=warn,fjall=warn,lsm_tree=warn,{own},{TARGET}=off,{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood_and_a_name_in_them_wins() {
        for level in ["info", "tollfree=debug,warn", "actix_server=info,info", "off"] {
            assert!(EnvFilter::try_new(quietly(level)).is_ok(), "{level}");
        }
        assert!(EnvFilter::try_new(quietly("tollfree=loud")).is_err());
    }

    #[test]
    fn without_telemetry_there_is_nothing_to_scrape() {
        assert_eq!((scrape(), dropped()), (String::new(), Vec::new()));
    }
}
