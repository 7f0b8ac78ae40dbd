//! Bounded export queues, one per signal. Every dropped item is counted, and one log line reports the start and the end of an
//! outage. Requests never wait for the collector.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, InstrumentationScope, logs::LogRecord};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use tracing::{info, warn};

use super::scope::ids;

/// State of one signal's export.
#[derive(Debug)]
pub(super) struct ExportQueue {
    /// `traces`, `metrics`, `logs`
    pub signal: &'static str,
    /// Scheme, host and port of the collector, for the log.
    endpoint: String,
    capacity: usize,
    queued: AtomicUsize,
    is_failing: AtomicBool,
    /// Items dropped since the start of the process.
    dropped: AtomicU64,
    /// Value of `dropped` when the last outage began.
    dropped_before_outage: AtomicU64,
}

impl ExportQueue {
    pub(super) fn new(signal: &'static str, endpoint: String, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            signal,
            endpoint,
            capacity,
            queued: AtomicUsize::new(0),
            is_failing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            dropped_before_outage: AtomicU64::new(0),
        })
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Reserves a place in the queue. If it is full, the item counts as dropped and the result is false.
    fn reserve(&self) -> bool {
        let room =
            self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.capacity).then_some(n + 1));
        if room.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        room.is_ok()
    }

    /// Records the result of exporting `count` items.
    fn exported(&self, count: usize, result: &OTelSdkResult) {
        let _ = self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(count)));
        let (signal, endpoint) = (self.signal, &self.endpoint);
        match result {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    let dropped = self.dropped().saturating_sub(self.dropped_before_outage.load(Ordering::Relaxed));
                    info!(
                        otel.signal = signal,
                        otel.dropped = dropped,
                        "The collector at {endpoint} accepts {signal} again; {dropped} were dropped"
                    );
                }
            }
            Err(error) => {
                let before = self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    self.dropped_before_outage.store(before, Ordering::Relaxed);
                    warn!(
                        otel.signal = signal,
                        "The collector at {endpoint} does not accept {signal}; they are dropped: {error}"
                    );
                }
            }
        }
    }
}

/// An exporter that reports its results to the queue.
#[derive(Debug)]
pub(super) struct DropCounter<E> {
    pub inner: E,
    pub queue: Arc<ExportQueue>,
}

impl<E: SpanExporter> SpanExporter for DropCounter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.queue.exported(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for DropCounter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        let result = self.inner.export(batch).await;
        self.queue.exported(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for DropCounter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.inner.export(metrics).await;
        self.queue.exported(1, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

/// A batching processor behind the bounded queue, so that items that do not fit are counted.
#[derive(Debug)]
pub(super) struct BoundedQueue<P> {
    pub inner: P,
    pub queue: Arc<ExportQueue>,
}

impl<P: SpanProcessor> SpanProcessor for BoundedQueue<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.reserve() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for BoundedQueue<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.queue.reserve() {
            if let Some(id) = ids().request {
                record.add_attribute("request.id", id.to_string());
            }
            self.inner.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
