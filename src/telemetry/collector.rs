//! The line to a collector, for one signal: never more waiting than its bound, every loss counted, one line in the log when
//! it breaks and one when it works again. Nothing here ever waits for the collector on a request's path.

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

/// What is known of one signal's line.
#[derive(Debug)]
pub struct ExportQueue {
    /// `traces`, `metrics`, `logs`
    pub signal: &'static str,
    /// For people: scheme, host and port.
    to: String,
    most: usize,
    waiting: AtomicUsize,
    is_broken: AtomicBool,
    /// Since the process began.
    lost: AtomicU64,
    /// When it broke last.
    lost_before: AtomicU64,
}

impl ExportQueue {
    pub fn new(signal: &'static str, to: String, most: usize) -> Arc<Self> {
        Arc::new(Self {
            signal,
            to,
            most,
            waiting: AtomicUsize::new(0),
            is_broken: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            lost_before: AtomicU64::new(0),
        })
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// False: there is no room, and one more is lost.
    fn enters(&self) -> bool {
        let room =
            self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.most).then_some(n + 1));
        if room.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        room.is_ok()
    }

    /// So many left the line, taken by the collector or not.
    fn left(&self, count: usize, result: &OTelSdkResult) {
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(count)));
        let (signal, to) = (self.signal, &self.to);
        match result {
            Ok(()) => {
                if self.is_broken.swap(false, Ordering::Relaxed) {
                    let lost = self.lost().saturating_sub(self.lost_before.load(Ordering::Relaxed));
                    info!(
                        otel.signal = signal,
                        otel.lost = lost,
                        "The collector at {to} takes {signal} again; {lost} were lost"
                    );
                }
            }
            Err(error) => {
                let before = self.lost.fetch_add(count as u64, Ordering::Relaxed);
                if !self.is_broken.swap(true, Ordering::Relaxed) {
                    self.lost_before.store(before, Ordering::Relaxed);
                    warn!(
                        otel.signal = signal,
                        "The collector at {to} does not take {signal}, which are dropped meanwhile: {error}"
                    );
                }
            }
        }
    }
}

/// An exporter whose results are noticed.
#[derive(Debug)]
pub struct DropCounter<E> {
    pub inner: E,
    pub line: Arc<ExportQueue>,
}

impl<E: SpanExporter> SpanExporter for DropCounter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.line.left(count, &result);
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
        self.line.left(count, &result);
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
        self.line.left(1, &result);
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

/// A batching processor in front of which the line is bounded, so that what does not fit is counted.
#[derive(Debug)]
pub struct BoundedQueue<P> {
    pub inner: P,
    pub line: Arc<ExportQueue>,
}

impl<P: SpanProcessor> SpanProcessor for BoundedQueue<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.line.enters() {
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
        if self.line.enters() {
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
