//! OTLP exporters over gRPC and HTTP, and the SDK providers that use them.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol as Wire, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::{metadata::MetadataMap, transport::ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    logs::{self, BatchLogProcessor, SdkLoggerProvider},
    metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream},
    trace::{self, BatchSpanProcessor, Sampler as SdkSampler, SdkTracerProvider},
};
use secrecy::ExposeSecret;
use tokio::{sync::oneshot, time::Instant};

use super::{
    collector::{BoundedQueue, DropCounter, ExportQueue},
    settings::{Protocol, Sampler, Settings, Target},
};
use crate::shutdown::Tasks;

/// Posts one body: URL, headers, bytes. Returns the status and the response body; the error is for the log.
pub(crate) type Post = Arc<dyn Fn(String, Vec<(String, Vec<u8>)>, Bytes) -> Posted + Send + Sync>;
pub(super) type Posted = BoxFuture<'static, Result<(u16, Bytes), String>>;

/// Maximum series of a budget gauge: accounts × models × limits. The SDK folds further series into one.
const BUDGET_SERIES: usize = 20_000;

/// The SDK providers of the process.
pub(super) struct Providers {
    pub traces: Option<SdkTracerProvider>,
    pub logs: Option<SdkLoggerProvider>,
    pub metrics: SdkMeterProvider,
    /// Registry of the metrics for scraping.
    pub registry: prometheus::Registry,
    pub export_queues: Vec<Arc<ExportQueue>>,
}

/// One signal's exporter over its target's protocol.
macro_rules! exporter {
    ($signal:ident, $target:expr, $post:expr) => {
        match $target.protocol {
            Protocol::Grpc => {
                let exporter =
                    $signal::builder().with_tonic().with_endpoint(&$target.url).with_timeout($target.timeout);
                let exporter = exporter.with_metadata(metadata($target)?);
                if $target.url.starts_with("https:") {
                    exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots()).build()
                } else {
                    exporter.build()
                }
            }
            Protocol::HttpProtobuf => $signal::builder()
                .with_http()
                .with_protocol(Wire::HttpBinary)
                .with_endpoint(&$target.url)
                .with_timeout($target.timeout)
                .with_headers(headers($target))
                .with_http_client(OtlpHttpClient::new($post, $target.timeout))
                .build(),
        }
        .map_err(|e| e.to_string())
    };
}

impl Providers {
    /// Must be called on the runtime that sends the exports.
    pub(super) fn start(settings: &Settings, post: &Post) -> Result<Self, String> {
        let resource = resource(settings);
        let mut export_queues = Vec::new();
        let mut queue = |signal, target: &Target, most| {
            export_queues.push(ExportQueue::new(signal, endpoint(&target.url), most));
            export_queues[export_queues.len() - 1].clone()
        };
        let traces = match &settings.traces {
            Some(target) if settings.sampler != Sampler::Own(0.0) => {
                let queue = queue("traces", target, settings.spans.queue);
                Some(tracer_provider(settings, exporter!(SpanExporter, target, post)?, queue, resource.clone()))
            }
            _ => None,
        };
        let logs = match &settings.logs {
            Some(target) => {
                let queue = queue("logs", target, settings.lines.queue);
                Some(logger_provider(settings, exporter!(LogExporter, target, post)?, queue, resource.clone()))
            }
            None => None,
        };
        let registry = prometheus::Registry::new();
        let scraped = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_scope_info();
        let scraped = scraped.build().map_err(|e| e.to_string())?;
        let mut metrics =
            SdkMeterProvider::builder().with_resource(resource).with_reader(scraped).with_view(budget_view);
        if let Some(target) = &settings.metrics {
            let inner = exporter!(MetricExporter, target, post)?;
            let exporter = DropCounter { inner, queue: queue("metrics", target, 1) };
            let reader = PeriodicReader::builder(exporter).with_interval(settings.metrics_every).build();
            metrics = metrics.with_reader(reader);
        }
        Ok(Self { traces, logs, metrics: metrics.build(), registry, export_queues })
    }

    /// Sends what is queued, all signals in parallel, within `timeout`.
    pub(super) fn finish(self, timeout: Duration) {
        let (done, all_done) = mpsc::channel();
        let finish = |work: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            std::thread::spawn(move || {
                work();
                let _ = done.send(());
            });
        };
        let Self { traces, logs, metrics, .. } = self;
        // The export queues have logged any failure.
        finish(Box::new(move || drop(traces.map(|provider| provider.shutdown_with_timeout(timeout)))));
        finish(Box::new(move || drop(logs.map(|provider| provider.shutdown_with_timeout(timeout)))));
        finish(Box::new(move || drop(metrics.shutdown_with_timeout(timeout))));
        drop(done);
        let until = Instant::now() + timeout;
        while all_done.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    }
}

fn tracer_provider(
    settings: &Settings,
    inner: SpanExporter,
    queue: Arc<ExportQueue>,
    resource: Resource,
) -> SdkTracerProvider {
    let batches = trace::BatchConfigBuilder::default()
        // Never reached: the export queue in front of it is smaller.
        .with_max_queue_size(settings.spans.queue + settings.spans.batch)
        .with_max_export_batch_size(settings.spans.batch)
        .with_scheduled_delay(settings.spans.delay)
        .build();
    let exporter = DropCounter { inner, queue: queue.clone() };
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler(settings.sampler))
        .with_span_processor(BoundedQueue { inner, queue })
        .build()
}

fn logger_provider(
    settings: &Settings,
    inner: LogExporter,
    queue: Arc<ExportQueue>,
    resource: Resource,
) -> SdkLoggerProvider {
    let batches = logs::BatchConfigBuilder::default()
        .with_max_queue_size(settings.lines.queue + settings.lines.batch)
        .with_max_export_batch_size(settings.lines.batch)
        .with_scheduled_delay(settings.lines.delay)
        .build();
    let exporter = DropCounter { inner, queue: queue.clone() };
    let inner = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
    SdkLoggerProvider::builder().with_resource(resource).with_log_processor(BoundedQueue { inner, queue }).build()
}

fn sampler(which: Sampler) -> SdkSampler {
    let part = |ratio: f64| {
        if ratio >= 1.0 {
            SdkSampler::AlwaysOn
        } else if ratio <= 0.0 {
            SdkSampler::AlwaysOff
        } else {
            SdkSampler::TraceIdRatioBased(ratio)
        }
    };
    match which {
        Sampler::Own(ratio) => part(ratio),
        Sampler::ParentOr(ratio) => SdkSampler::ParentBased(Box::new(part(ratio))),
    }
}

/// Resource attributes. An explicit service name overrides the `service.name` attribute.
fn resource(settings: &Settings) -> Resource {
    let given = settings.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let named = settings.resource.iter().find(|(name, _)| name == "service.name").map(|(_, value)| value.clone());
    let is_default = settings.service_name == Settings::default().service_name;
    let name = named.filter(|_| is_default).unwrap_or_else(|| settings.service_name.clone());
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
    ];
    Resource::builder_empty().with_attributes(own).with_attributes(given).with_service_name(name).build()
}

fn budget_view(instrument: &Instrument) -> Option<Stream> {
    let is_budget = instrument.name().starts_with("tollfree.budget.");
    is_budget.then(|| Stream::builder().with_cardinality_limit(BUDGET_SERIES).build().ok()).flatten()
}

fn headers(target: &Target) -> HashMap<String, String> {
    target.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}

fn metadata(target: &Target) -> Result<MetadataMap, String> {
    let request = target
        .headers
        .iter()
        .fold(Request::builder(), |request, (name, value)| request.header(name.to_lowercase(), value.expose_secret()));
    // The error of an invalid header would contain its value.
    let request = request.body(()).map_err(|_| "a header for the collector is invalid".to_owned())?;
    Ok(MetadataMap::from_headers(request.into_parts().0.headers))
}

/// Scheme, host and port of a URL, without credentials.
fn endpoint(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else { return "?".to_owned() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

/// Sends OTLP posts with the HTTP client of the `upstream` room, on its runtime. The SDK calls it from its own threads, which
/// have no runtime.
struct OtlpHttpClient {
    post: Post,
    tasks: Tasks,
    timeout: Duration,
}

impl OtlpHttpClient {
    fn new(post: &Post, timeout: Duration) -> Self {
        Self { post: post.clone(), tasks: Tasks::new(), timeout }
    }
}

impl std::fmt::Debug for OtlpHttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpHttpClient").finish_non_exhaustive()
    }
}

impl HttpClient for OtlpHttpClient {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let (head, body) = request.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        let posted = (self.post)(head.uri.to_string(), headers.collect(), body);
        let (result, received) = oneshot::channel();
        let timeout = self.timeout;
        self.tasks.spawn_aside(async move {
            let response = tokio::time::timeout(timeout, posted).await;
            let _ =
                result.send(response.unwrap_or_else(|_| Err(format!("no response within {} ms", timeout.as_millis()))));
        });
        Box::pin(async move {
            let (status, body) = received.await.map_err(|_| "the process is stopping")??;
            Ok(Response::builder().status(status).body(body)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_endpoint_contains_no_password() {
        assert_eq!(endpoint("https://u:secret@collector.example:4318/v1/traces?k=v"), "https://collector.example:4318");
        assert_eq!(endpoint("http://collector/v1/logs"), "http://collector");
    }

    #[test]
    fn an_explicit_service_name_overrides_the_attribute() {
        let named = |settings: Settings| resource(&settings).get(&"service.name".into()).unwrap().to_string();
        let attribute = vec![("service.name".to_owned(), "gateway".to_owned())];
        assert_eq!(named(Settings::default()), "tollfree");
        assert_eq!(named(Settings { resource: attribute.clone(), ..Settings::default() }), "gateway");
        let both = Settings { resource: attribute, service_name: "edge".to_owned(), ..Settings::default() };
        assert_eq!(named(both), "edge");
    }
}
