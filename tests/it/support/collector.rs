//! An OTLP collector over HTTP and gRPC that records messages and bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::transport::server::{Server, TcpIncoming};

use super::{app::Setup, eventually, listen};

/// Time limit for the arrival of exports, which are sent every few dozen milliseconds.
const ARRIVES: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Taken {
    spans: Vec<SeenSpan>,
    metrics: BTreeMap<String, Metric>,
    lines: Vec<LogRecord>,
    resource: BTreeMap<String, Value>,
    headers: Vec<BTreeMap<String, String>>,
    /// Every message, without headers and framing.
    bytes: Vec<u8>,
}

/// A received span.
#[derive(Debug, Clone)]
pub(crate) struct SeenSpan {
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub kind: SpanKind,
    pub status: StatusCode,
    pub attributes: BTreeMap<String, Value>,
    pub took: Duration,
    /// Nanoseconds since the epoch.
    pub start: u64,
    pub end: u64,
}

impl SeenSpan {
    /// An attribute, or null if it is absent.
    pub(crate) fn get(&self, key: &str) -> Value {
        self.attributes.get(key).cloned().unwrap_or(Value::Null)
    }
}

#[derive(Clone)]
pub(crate) struct Collector {
    taken: Arc<Mutex<Taken>>,
    port: u16,
    protocol: &'static str,
    _tasks: Arc<JoinSet<()>>,
}

impl Collector {
    pub(crate) async fn http() -> Self {
        Self::listening(0).await
    }

    /// A collector on a given port, for one that starts late.
    pub(crate) async fn http_at(port: u16) -> Self {
        Self::listening(port).await
    }

    async fn listening(port: u16) -> Self {
        let taken = Arc::<Mutex<Taken>>::default();
        let shared = taken.clone();
        let (port, tasks) = listen(port, move |stream| serve(stream, shared.clone())).await;
        Self { taken, port, protocol: "http/protobuf", _tasks: Arc::new(tasks) }
    }

    pub(crate) async fn grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (taken, port) = (Arc::<Mutex<Taken>>::default(), listener.local_addr().unwrap().port());
        let service = Service(taken.clone());
        let server = Server::builder()
            .add_service(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service.clone()))
            .add_service(LogsServiceServer::new(service));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = server.serve_with_incoming(TcpIncoming::from(listener)).await;
        });
        Self { taken, port, protocol: "grpc", _tasks: Arc::new(tasks) }
    }

    /// A collector that accepts data and never replies.
    pub(crate) async fn hanging() -> Self {
        let (port, tasks) = listen(0, async |mut stream| {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        })
        .await;
        Self { taken: Arc::default(), port, protocol: "http/protobuf", _tasks: Arc::new(tasks) }
    }

    /// Configures a gateway to export to this collector in small batches.
    pub(crate) fn attach(&self, setup: Setup) -> Setup {
        setup
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", self.protocol)
            .env("OTEL_BSP_SCHEDULE_DELAY", 50)
            .env("OTEL_BLRP_SCHEDULE_DELAY", 50)
            .env("OTEL_METRIC_EXPORT_INTERVAL", 200)
    }

    /// Waits for a trace with all of `names`, whose server span, the first name, satisfies `is_it`. Returns its spans.
    pub(crate) async fn trace(&self, names: &[&str], is_it: impl Fn(&SeenSpan) -> bool) -> Vec<SeenSpan> {
        let what = format!("a trace with {names:?}");
        eventually(ARRIVES, &what, async || {
            let taken = self.taken.lock().unwrap();
            let is_server = |span: &&SeenSpan| span.kind == SpanKind::Server && span.name == names[0];
            let server = taken.spans.iter().filter(is_server).find(|span| is_it(span))?;
            let spans: Vec<_> = taken.spans.iter().filter(|span| span.trace == server.trace).cloned().collect();
            let mut left: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            for name in names {
                let at = left.iter().position(|has| has == name)?;
                left.swap_remove(at);
            }
            Some(spans)
        })
        .await
    }

    /// Waits for a metric that satisfies `is_it`.
    pub(crate) async fn metric(&self, name: &str, is_it: impl Fn(&Metric) -> bool) -> Metric {
        eventually(ARRIVES, &format!("the metric {name}"), async || {
            let taken = self.taken.lock().unwrap();
            taken.metrics.get(name).filter(|metric| is_it(metric)).cloned()
        })
        .await
    }

    /// Waits for a log record whose body contains `words`.
    pub(crate) async fn line(&self, words: &str) -> LogRecord {
        eventually(ARRIVES, &format!("a line with `{words}`"), async || {
            let taken = self.taken.lock().unwrap();
            taken
                .lines
                .iter()
                .find(|line| text(line.body.as_ref()).as_str().is_some_and(|b| b.contains(words)))
                .cloned()
        })
        .await
    }

    pub(crate) fn spans(&self) -> Vec<SeenSpan> {
        self.taken.lock().unwrap().spans.clone()
    }

    pub(crate) fn resource(&self) -> BTreeMap<String, Value> {
        self.taken.lock().unwrap().resource.clone()
    }

    pub(crate) fn headers(&self) -> Vec<BTreeMap<String, String>> {
        self.taken.lock().unwrap().headers.clone()
    }

    /// Whether any message contains these bytes.
    pub(crate) fn has_received(&self, secret: &str) -> bool {
        let taken = self.taken.lock().unwrap();
        taken.bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    }
}

/// The span with this name.
pub(crate) fn named<'a>(spans: &'a [SeenSpan], name: &str) -> &'a SeenSpan {
    let all: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(all.len(), 1, "{name} in {spans:#?}");
    all[0]
}

pub(crate) fn attributes(of: &[KeyValue]) -> BTreeMap<String, Value> {
    of.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

pub(crate) fn text(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(is)) => json!(is),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().map(|value| text(Some(value))).collect(),
        _ => Value::Null,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

impl Taken {
    fn take_traces(&mut self, request: ExportTraceServiceRequest) {
        self.bytes.extend(request.encode_to_vec());
        for resource in request.resource_spans {
            self.resource.extend(attributes(&resource.resource.unwrap_or_default().attributes));
            self.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(seen));
        }
    }

    fn take_metrics(&mut self, request: ExportMetricsServiceRequest) {
        self.bytes.extend(request.encode_to_vec());
        for resource in request.resource_metrics {
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            self.metrics.extend(metrics.map(|metric| (metric.name.clone(), metric)));
        }
    }

    fn take_logs(&mut self, request: ExportLogsServiceRequest) {
        self.bytes.extend(request.encode_to_vec());
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        self.lines.extend(scopes.flat_map(|scope| scope.log_records));
    }
}

fn seen(span: Span) -> SeenSpan {
    SeenSpan {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind(),
        status: span.status.as_ref().map_or(StatusCode::Unset, Status::code),
        attributes: attributes(&span.attributes),
        took: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        name: span.name,
    }
}

/// Serves the requests of one keep-alive connection.
async fn serve(mut stream: TcpStream, taken: Arc<Mutex<Taken>>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<_, _> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers["content-length"].parse().unwrap();
        while bytes.len() < end + 4 + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let rest = bytes.split_off(end + 4 + length);
        let body = std::mem::replace(&mut bytes, rest).split_off(end + 4);
        {
            let mut taken = taken.lock().unwrap();
            taken.headers.push(headers);
            match path.as_str() {
                "/v1/traces" => taken.take_traces(Message::decode(&body[..]).unwrap()),
                "/v1/metrics" => taken.take_metrics(Message::decode(&body[..]).unwrap()),
                "/v1/logs" => taken.take_logs(Message::decode(&body[..]).unwrap()),
                other => panic!("unexpected path {other}"),
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<Taken>>);

impl Service {
    fn take<R, A: Default>(&self, request: tonic::Request<R>, take: fn(&mut Taken, R)) -> tonic::Response<A> {
        let mut taken = self.0.lock().unwrap();
        let headers = request.metadata().clone().into_headers();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        taken.headers.push(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect());
        take(&mut taken, request.into_inner());
        tonic::Response::new(A::default())
    }
}

type ExportResult<A> = Result<tonic::Response<A>, tonic::Status>;

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> ExportResult<ExportTraceServiceResponse> {
        Ok(self.take(request, Taken::take_traces))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> ExportResult<ExportMetricsServiceResponse> {
        Ok(self.take(request, Taken::take_metrics))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> ExportResult<ExportLogsServiceResponse> {
        Ok(self.take(request, Taken::take_logs))
    }
}
