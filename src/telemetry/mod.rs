//! Log, traces and metrics. None of them contains keys, prompts or replies.
//!
//! The log goes to standard error. Traces, metrics and log records also go to an OTLP collector where one is configured, and
//! metrics can always be scraped. A slow or unreachable collector drops telemetry and never delays a request.

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
pub(crate) use self::{
    export::Post,
    ledger::{
        AdmitSpan, Database, QueueWait, ledger_stalled, ledger_write_dropped, queue_length, script, set_database,
    },
    scope::{RequestScope, is_traced, trace_id},
    settings::{Batching, Protocol, Sampler, Settings, Target},
    spans::{SpanExt, TARGET},
};

/// Libraries that send log records to the collector. Their own records are not exported, which would cause a loop.
const EXPORT_LIBRARIES: [&str; 7] = ["h2", "hyper", "opentelemetry", "reqwest", "rustls", "tonic", "tower"];

/// Set once telemetry has been started.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    registry: prometheus::Registry,
    export_queues: Vec<Arc<ExportQueue>>,
}

/// Running telemetry. [`Telemetry::finish`] sends what is still queued.
pub(crate) struct Telemetry(Mutex<Option<Providers>>);

/// Sets up the log of the process on standard error, as JSON lines or as text, and the exporters. `level` is an `EnvFilter`
/// directive: `info`, `tollfree=debug,warn`. Must be called on the runtime.
pub(crate) fn start(level: &str, json: bool, settings: &Settings, post: &Post) -> Result<Telemetry, String> {
    let filter = || EnvFilter::try_new(with_default_levels(level)).map_err(|e| format!("LOG_LEVEL `{level}`: {e}"));
    let providers = Providers::start(settings, post)?;
    let log = fmt::layer().with_writer(stderr).with_ansi(!json && stderr().is_terminal());
    let log: Box<dyn Layer<Registry> + Send + Sync> =
        if json { Box::new(log.event_format(log_format::Json)) } else { Box::new(log.event_format(log_format::Text)) };
    let set = if providers.traces.is_none() && providers.logs.is_none() {
        // One filter for the whole registry is cheaper than one for each layer.
        tracing_subscriber::registry().with(log).with(filter()?).try_init()
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
                let own =
                    filter_fn(|record| !EXPORT_LIBRARIES.iter().any(|library| record.target().starts_with(library)));
                Some(OpenTelemetryTracingBridge::new(provider).with_filter(own).with_filter(filter()?))
            }
            None => None,
        };
        tracing_subscriber::registry().with(log.with_filter(filter()?)).with(traces).with(logs).try_init()
    };
    set.map_err(|e| e.to_string())?;
    if providers.traces.is_some() {
        scope::enable_traces();
    }
    opentelemetry::global::set_meter_provider(providers.metrics.clone());
    let _ =
        RUNNING.set(Running { registry: providers.registry.clone(), export_queues: providers.export_queues.clone() });
    Ok(Telemetry(Mutex::new(Some(providers))))
}

impl Telemetry {
    /// Sends what is queued, within `timeout`. Blocks the calling thread, which must not serve requests.
    pub(crate) fn finish(&self, timeout: Duration) {
        let providers = self.0.lock().take();
        if let Some(providers) = providers {
            providers.finish(timeout);
        }
    }
}

/// All metrics in Prometheus's text format; empty if telemetry was not started.
pub(crate) fn scrape() -> String {
    let Some(running) = RUNNING.get() else { return String::new() };
    let families = running.registry.gather();
    prometheus::TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

/// Number of dropped items of each signal that has a collector.
pub(crate) fn dropped() -> Vec<(&'static str, u64)> {
    RUNNING
        .get()
        .into_iter()
        .flat_map(|running| &running.export_queues)
        .map(|queue| (queue.signal, queue.dropped()))
        .collect()
}

/// Adds default levels for libraries that log internals at `info`; a directive that names one overrides them. Exported spans are
/// not log lines, and export failures are logged by this room.
fn with_default_levels(level: &str) -> String {
    let own = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off,opentelemetry-prometheus=off";
    format!("actix_server=warn,fjall=warn,lsm_tree=warn,{own},{TARGET}=off,{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_directives_are_accepted_and_override_the_defaults() {
        for level in ["info", "tollfree=debug,warn", "actix_server=info,info", "off"] {
            assert!(EnvFilter::try_new(with_default_levels(level)).is_ok(), "{level}");
        }
        assert!(EnvFilter::try_new(with_default_levels("tollfree=loud")).is_err());
    }

    #[test]
    fn without_telemetry_a_scrape_is_empty() {
        assert_eq!((scrape(), dropped()), (String::new(), Vec::new()));
    }
}
