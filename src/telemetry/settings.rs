//! Telemetry settings: the standard OpenTelemetry variables, as `config` has parsed them.

use std::time::Duration;

use secrecy::SecretString;

/// A signal without a target is not exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub service_name: String,
    /// `OTEL_RESOURCE_ATTRIBUTES`
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    pub traces: Option<Target>,
    pub metrics: Option<Target>,
    pub logs: Option<Target>,
    /// Batching of exported spans.
    pub spans: Batching,
    /// Batching of exported log records.
    pub lines: Batching,
    pub metrics_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_name: "tollfree".to_owned(),
            resource: Vec::new(),
            sampler: Sampler::ParentOr(1.0),
            traces: None,
            metrics: None,
            logs: None,
            spans: Batching { queue: 2_048, batch: 512, delay: Duration::from_secs(5) },
            lines: Batching { queue: 2_048, batch: 512, delay: Duration::from_secs(1) },
            metrics_every: Duration::from_mins(1),
        }
    }
}

/// Which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// This share of requests, whatever the caller decided.
    Own(f64),
    /// As the caller's `traceparent` says; without one, this share of requests.
    ParentOr(f64),
}

/// Collector of one signal.
#[derive(Debug, Clone)]
pub struct Target {
    pub protocol: Protocol,
    /// URL including the path; gRPC uses only scheme, host and port.
    pub url: String,
    pub headers: Vec<(String, SecretString)>,
    /// Timeout of one export.
    pub timeout: Duration,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret;
        let headers = |target: &Self| -> Vec<(String, String)> {
            target.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        (self.protocol, &self.url, self.timeout) == (other.protocol, &other.url, other.timeout)
            && headers(self) == headers(other)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Queue capacity, batch size, and the delay after which an incomplete batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    pub queue: usize,
    pub batch: usize,
    pub delay: Duration,
}
