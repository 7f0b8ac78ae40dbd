//! The standard OpenTelemetry variables. A wrong value stops the start; a variable that has no meaning here is ignored.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::{
    Findings,
    environment::{Environment, Found},
    value,
};
use crate::telemetry::{Batching, Protocol, Sampler, Settings, Target};

/// Parts of `OTEL_EXPORTER_OTLP_…` names that other programs implement and that would be ignored here.
const NOT_SUPPORTED: [(&str, &str); 4] = [
    ("COMPRESSION", "data is not compressed"),
    ("CERTIFICATE", "collectors are verified by the certificates of the system and of Mozilla"),
    ("CLIENT_CERTIFICATE", "client certificates cannot be sent"),
    ("CLIENT_KEY", "client certificates cannot be sent"),
];

pub(super) fn read(env: &Environment, findings: &mut Findings) -> Settings {
    let before = findings.errors.len();
    let settings = Reader { env, findings }.settings();
    // A general variable is read once for each signal.
    findings.errors[before..].sort();
    findings.errors.dedup();
    settings
}

struct Reader<'a> {
    env: &'a Environment,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let defaults = Settings::default();
        let is_disabled = self.name("OTEL_SDK_DISABLED", &[("true", true), ("false", false)]).unwrap_or(false);
        let mut signal = |signal: &str| self.target(signal).filter(|_| !is_disabled);
        let (traces, metrics, logs) = (signal("TRACES"), signal("METRICS"), signal("LOGS"));
        self.check_port(traces.as_ref());
        Settings {
            service_name: self.text("OTEL_SERVICE_NAME").unwrap_or(defaults.service_name),
            resource: self.read("OTEL_RESOURCE_ATTRIBUTES", "name=value,name=value", pairs).unwrap_or_default(),
            sampler: self.sampler(),
            traces,
            metrics,
            logs,
            spans: self.batching("BSP", defaults.spans),
            lines: self.batching("BLRP", defaults.lines),
            metrics_every: self.duration("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(defaults.metrics_every),
        }
    }

    fn found(&mut self, name: &str) -> Option<Found> {
        let found = self.env.first(&[name])?;
        // An address may contain a password.
        let shown = if found.value.contains('@') { "set" } else { &found.value };
        self.list(&found, shown.to_owned());
        Some(found)
    }

    fn list(&mut self, found: &Found, shown: String) {
        if self.findings.sources.iter().all(|source| source.name != found.name) {
            self.findings.source(&found.name, found.source.clone(), shown);
        }
    }

    fn read<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = self.found(name)?;
        let value = parse(&found.value);
        if value.is_none() {
            self.findings.errors.push(format!("{}: expected {expected}, got `{}`", found.source, found.value));
        }
        value
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.found(name).map(|found| found.value)
    }

    fn name<T: Copy>(&mut self, name: &str, values: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        self.read(name, &one_of(&names), |text| {
            values.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        })
    }

    fn number(&mut self, name: &str) -> Option<u32> {
        let parse = |text: &str| text.parse().ok().filter(|n| (1..=1_000_000_000).contains(n));
        self.read(name, "a whole number above 0", parse)
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        self.number(name).map(|ms| Duration::from_millis(ms.into()))
    }

    fn url(&mut self, name: &str) -> Option<String> {
        let found = self.found(name)?;
        let Err(error) = value::check_base_url(&found.value) else { return Some(found.value) };
        let error = error.replace("https://host/v1", "http://collector:4318");
        self.findings.errors.push(format!("{}: {error}", found.source));
        None
    }

    /// The signal's own variable, else the general one.
    fn own_or_general<T>(
        &mut self,
        signal: &str,
        part: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let (own, general) = (format!("OTEL_EXPORTER_OTLP_{signal}_{part}"), format!("OTEL_EXPORTER_OTLP_{part}"));
        let is_set = self.env.first(&[&own]).is_some();
        read(self, if is_set { &own } else { &general })
    }

    fn target(&mut self, signal: &str) -> Option<Target> {
        let is_wanted = self.exports_otlp(signal);
        self.refuse_unsupported(signal);
        let protocols = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
        let protocol = self.own_or_general(signal, "PROTOCOL", |reader, name| reader.name(name, &protocols));
        let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
        let headers = self.headers(signal);
        let timeout = self.own_or_general(signal, "TIMEOUT", Self::duration).unwrap_or(Duration::from_secs(10));
        let own = self.url(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let general = self.url("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| match protocol {
            Protocol::Grpc => base,
            Protocol::HttpProtobuf => format!("{}/v1/{}", base.trim_end_matches('/'), signal.to_lowercase()),
        });
        let url = own.or(general)?;
        is_wanted.then_some(Target { protocol, url, headers, timeout })
    }

    /// Whether `OTEL_<SIGNAL>_EXPORTER` includes OTLP. `/metrics` is served in any case.
    fn exports_otlp(&mut self, signal: &str) -> bool {
        let known: &[&str] = if signal == "METRICS" { &["otlp", "none", "prometheus"] } else { &["otlp", "none"] };
        let exporters = self.read(&format!("OTEL_{signal}_EXPORTER"), &one_of(known), |text| {
            let names: Vec<&str> = value::split(text).collect();
            names.iter().all(|name| known.contains(name)).then(|| names.contains(&"otlp"))
        });
        exporters.unwrap_or(true)
    }

    fn refuse_unsupported(&mut self, signal: &str) {
        for (part, why) in NOT_SUPPORTED {
            for name in [format!("OTEL_EXPORTER_OTLP_{part}"), format!("OTEL_EXPORTER_OTLP_{signal}_{part}")] {
                if let Some(found) = self.env.first(&[&name]).filter(|found| found.value != "none") {
                    self.findings.errors.push(format!("{}: not supported: {why}", found.source));
                }
            }
        }
    }

    /// A secret: neither its value nor the names in it are ever shown.
    fn headers(&mut self, signal: &str) -> Vec<(String, SecretString)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS".to_owned()];
        let Some(found) = self.findings.take(self.env.secret(&names)).flatten() else { return Vec::new() };
        self.list(&found, "set".to_owned());
        let Some(pairs) = pairs(&found.value).filter(|pairs| pairs.iter().all(|(n, v)| is_header(n, v))) else {
            self.findings.errors.push(format!("{}: expected headers as name=value,name=value", found.source));
            return Vec::new();
        };
        pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), SecretString::from(value))).collect()
    }

    fn sampler(&mut self) -> Sampler {
        // Sampler and whether it takes the ratio of `OTEL_TRACES_SAMPLER_ARG`.
        let samplers = [
            ("always_on", (Sampler::Own(1.0), false)),
            ("always_off", (Sampler::Own(0.0), false)),
            ("traceidratio", (Sampler::Own(1.0), true)),
            ("parentbased_always_on", (Sampler::ParentOr(1.0), false)),
            ("parentbased_always_off", (Sampler::ParentOr(0.0), false)),
            ("parentbased_traceidratio", (Sampler::ParentOr(1.0), true)),
        ];
        let (sampler, has_ratio) =
            self.name("OTEL_TRACES_SAMPLER", &samplers).unwrap_or((Sampler::ParentOr(1.0), false));
        if !has_ratio {
            return sampler;
        }
        let parse = |text: &str| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let ratio = self.read("OTEL_TRACES_SAMPLER_ARG", "a share from 0 to 1", parse).unwrap_or(1.0);
        match sampler {
            Sampler::Own(_) => Sampler::Own(ratio),
            Sampler::ParentOr(_) => Sampler::ParentOr(ratio),
        }
    }

    fn batching(&mut self, kind: &str, default: Batching) -> Batching {
        let mut size = |part: &str, default: usize| {
            let size = self.number(&format!("OTEL_{kind}_{part}"));
            size.map_or(default, |size| size.min(1_000_000) as usize)
        };
        let (queue, batch) = (size("MAX_QUEUE_SIZE", default.queue), size("MAX_EXPORT_BATCH_SIZE", default.batch));
        let delay = self.duration(&format!("OTEL_{kind}_SCHEDULE_DELAY")).unwrap_or(default.delay);
        Batching { queue, batch: batch.min(queue), delay }
    }

    /// Each of the two protocols has its usual port, and they are easily confused.
    fn check_port(&mut self, target: Option<&Target>) {
        let Some(Target { protocol, url, .. }) = target else { return };
        let port = url::Url::parse(url).ok().and_then(|url| url.port());
        let (port, other, set) = match (protocol, port) {
            (Protocol::HttpProtobuf, Some(port @ 4317)) => (port, "gRPC", "grpc"),
            (Protocol::Grpc, Some(port @ 4318)) => (port, "HTTP", "http/protobuf"),
            _ => return,
        };
        self.findings.notes.push(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT: {port} is the usual port for {other}; if that is the protocol of the collector, set \
             OTEL_EXPORTER_OTLP_PROTOCOL={set}"
        ));
    }
}

fn one_of(names: &[&str]) -> String {
    let (last, rest) = names.split_last().unwrap_or((&"", &[]));
    let rest: Vec<String> = rest.iter().map(|name| format!("`{name}`")).collect();
    format!("{} or `{last}`", rest.join(", "))
}

/// `name=value,name=value`, percent-encoded as in a `baggage` header.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((decoded(name).filter(|name| !name.is_empty())?, decoded(value)?))
    };
    value::split(text).map(pair).collect()
}

fn is_header(name: &str, value: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && value.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use secrecy::ExposeSecret;

    use super::*;

    fn read_env(vars: &[(&str, &str)]) -> (Settings, Findings) {
        let vars: BTreeMap<_, _> = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut findings = Findings::default();
        let settings = read(&Environment::read(&vars, Path::new("/nonexistent")).unwrap(), &mut findings);
        (settings, findings)
    }

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let (settings, findings) = read_env(vars);
        assert_eq!(findings.errors, Vec::<String>::new());
        settings
    }

    fn error(name: &str, value: &str) -> String {
        read_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), (name, value)]).1.errors.join("\n")
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint() {
        assert_eq!(settings(&[]), Settings::default());
        let named = settings(&[("OTEL_SERVICE_NAME", "edge"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert_eq!((named.traces, named.metrics, named.logs), (None, None, None));
    }

    #[test]
    fn each_signal_has_its_path_unless_it_has_its_own_endpoint() {
        let s = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m/otlp/metrics"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20hunter2,X-Scope=team"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ]);
        let traces = s.traces.unwrap();
        assert_eq!((traces.url.as_str(), traces.protocol), ("http://c:4318/v1/traces", Protocol::HttpProtobuf));
        assert_eq!(traces.timeout, Duration::from_millis(2_500));
        let headers: Vec<_> = traces.headers.iter().map(|(n, v)| (n.as_str(), v.expose_secret())).collect();
        assert_eq!(headers, [("authorization", "Basic hunter2"), ("x-scope", "team")]);
        assert_eq!(s.metrics.unwrap().url, "https://m/otlp/metrics");
        assert_eq!(s.logs, None);
    }

    #[test]
    fn grpc_goes_to_the_endpoint_itself_and_one_signal_may_differ() {
        let s = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
        ]);
        let traces = s.traces.unwrap();
        assert_eq!((traces.url.as_str(), traces.protocol), ("http://c:4317", Protocol::Grpc));
        assert_eq!(s.logs.unwrap().url, "http://c:4317/v1/logs");
    }

    #[test]
    fn export_can_be_switched_off_as_a_whole() {
        let s = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "true")]);
        assert_eq!((s.traces, s.metrics, s.logs), (None, None, None));
    }

    #[test]
    fn samplers_and_batches_are_read() {
        let sampler =
            |word, ratio| settings(&[("OTEL_TRACES_SAMPLER", word), ("OTEL_TRACES_SAMPLER_ARG", ratio)]).sampler;
        assert_eq!(sampler("traceidratio", "0.25"), Sampler::Own(0.25));
        assert_eq!(sampler("parentbased_traceidratio", "0.5"), Sampler::ParentOr(0.5));
        assert_eq!(sampler("always_off", "7"), Sampler::Own(0.0));
        let s = settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100"), ("OTEL_BLRP_SCHEDULE_DELAY", "50")]);
        assert_eq!((s.spans.queue, s.spans.batch), (100, 100));
        assert_eq!(s.lines.delay, Duration::from_millis(50));
    }

    #[test]
    fn a_mistake_is_reported_with_what_was_expected_and_without_a_secret() {
        for (name, value, expected) in [
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "`parentbased_traceidratio`, got `jaeger_remote`"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected `grpc` or `http/protobuf`, got `http/json`"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "expected an address such as http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "expected a whole number above 0, got `10s`"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "expected `otlp` or `none`"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not supported: data is not compressed"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team", "expected name=value"),
            ("OTEL_SDK_DISABLED", "yes", "expected `true` or `false`"),
        ] {
            let error_text = error(name, value);
            assert!(
                error_text.contains(name) && error_text.contains(expected) && error_text.lines().count() == 1,
                "{error_text}"
            );
        }
        let error_text = error("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer hunter2");
        assert!(
            error_text.contains("expected headers as name=value") && !error_text.contains("hunter2"),
            "{error_text}"
        );
        let ratio = read_env(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")]).1.errors;
        assert!(ratio[0].contains("expected a share from 0 to 1"), "{ratio:?}");
    }

    #[test]
    fn a_port_of_the_other_protocol_is_noted() {
        let notes = read_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]).1.notes;
        assert!(notes[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "{notes:?}");
    }
}
