//! The standard OpenTelemetry variables, checked: a wrong one stops the start, one that is not for us is let be.

use std::{borrow::Cow, time::Duration};

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::{
    environment::{Environment, Found},
    scalars,
};
use crate::telemetry::{Batching, Protocol, Sampler, Settings, Target};

/// Means something to other programs that send OTLP and would be ignored here.
const NOT_BUILT: [(&str, &str); 4] = [
    ("COMPRESSION", "nothing is compressed here"),
    ("CERTIFICATE", "collectors are known by the system's certificates and Mozilla's"),
    ("CLIENT_CERTIFICATE", "there are no client certificates here"),
    ("CLIENT_KEY", "there are no client certificates here"),
];

pub(super) struct Read {
    pub settings: Settings,
    pub sources: Vec<(String, String, String)>,
    pub errors: Vec<String>,
    pub notes: Vec<String>,
}

pub(super) fn read(env: &Environment) -> Read {
    let mut reader = Reader { env, sources: Vec::new(), errors: Vec::new(), notes: Vec::new() };
    let settings = reader.settings();
    let Reader { sources, mut errors, notes, .. } = reader;
    // A general variable is read once for each signal.
    errors.sort();
    errors.dedup();
    Read { settings, sources, errors, notes }
}

struct Reader<'a> {
    env: &'a Environment,
    sources: Vec<(String, String, String)>,
    errors: Vec<String>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let defaults = Settings::default();
        let disabled = self.word("OTEL_SDK_DISABLED", &["true", "false"]).is_some_and(|word| word == "true");
        let mut signal = |signal: &str, path: &str| self.target(signal, path).filter(|_| !disabled);
        let (traces, metrics, logs) =
            (signal("TRACES", "traces"), signal("METRICS", "metrics"), signal("LOGS", "logs"));
        self.check_port(traces.as_ref());
        Settings {
            service_name: self.text("OTEL_SERVICE_NAME").unwrap_or(defaults.service_name),
            resource: self.pairs("OTEL_RESOURCE_ATTRIBUTES"),
            sampler: self.sampler(),
            traces,
            metrics,
            logs,
            spans: self.batching("BSP", defaults.spans),
            lines: self.batching("BLRP", defaults.lines),
            metrics_every: self.ms("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(defaults.metrics_every),
        }
    }

    fn found(&mut self, name: &str) -> Option<Found> {
        let found = self.env.first(&[name])?;
        if !self.sources.iter().any(|(setting, ..)| setting == name) {
            // An address may hold a password.
            let shown = if found.value.contains('@') { "set".to_owned() } else { found.value.clone() };
            self.sources.push((name.to_owned(), found.source.clone(), shown));
        }
        Some(found)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.found(name).map(|found| found.value)
    }

    fn wrong(&mut self, found: &Found, expected: &str) {
        self.errors.push(format!("{}: expected {expected}, got `{}`", found.source, found.value));
    }

    fn word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let found = self.found(name)?;
        let word = words.iter().find(|word| found.value.eq_ignore_ascii_case(word)).copied();
        if word.is_none() {
            self.wrong(&found, &one_of(words));
        }
        word
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let found = self.found(name)?;
        let number = found.value.parse().ok().filter(|n| (1..=1_000_000_000).contains(n));
        if number.is_none() {
            self.wrong(&found, "a whole number above 0");
        }
        number
    }

    fn ms(&mut self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    fn url(&mut self, name: &str) -> Option<String> {
        let found = self.found(name)?;
        if let Err(what) = scalars::base_url(&found.value) {
            self.errors.push(format!("{}: {}", found.source, what.replace("https://host/v1", "http://collector:4318")));
            return None;
        }
        Some(found.value)
    }

    /// The signal's own variable, else the general one.
    fn own_or_general<T>(
        &mut self,
        signal: &str,
        what: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{what}");
        if self.env.first(&[&own]).is_some() {
            return read(self, &own);
        }
        read(self, &format!("OTEL_EXPORTER_OTLP_{what}"))
    }

    fn target(&mut self, signal: &str, path: &str) -> Option<Target> {
        let wanted = self.exporters(signal);
        self.refuse_what_is_not_built(signal);
        let protocol = self.own_or_general(signal, "PROTOCOL", |this, name| {
            this.word(name, &["grpc", "http/protobuf"]).map(|word| match word {
                "grpc" => Protocol::Grpc,
                _ => Protocol::HttpProtobuf,
            })
        });
        let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
        let headers = self.headers(signal);
        let timeout = self.own_or_general(signal, "TIMEOUT", Self::ms).unwrap_or(Duration::from_secs(10));
        let own = self.url(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let general = self.url("OTEL_EXPORTER_OTLP_ENDPOINT");
        let url = match (own, general, protocol) {
            (Some(own), ..) => own,
            (None, None, _) => return None,
            (None, Some(base), Protocol::Grpc) => base,
            (None, Some(base), Protocol::HttpProtobuf) => format!("{}/v1/{path}", base.trim_end_matches('/')),
        };
        wanted.then_some(Target { protocol, url, headers, timeout })
    }

    /// Whether `OTEL_<SIGNAL>_EXPORTER` leaves room for OTLP. Prometheus is answered in any case.
    fn exporters(&mut self, signal: &str) -> bool {
        let Some(found) = self.found(&format!("OTEL_{signal}_EXPORTER")) else { return true };
        let known: &[&str] = if signal == "METRICS" { &["otlp", "none", "prometheus"] } else { &["otlp", "none"] };
        let words: Vec<&str> = scalars::split(&found.value).collect();
        if !words.iter().all(|word| known.contains(word)) {
            self.wrong(&found, &one_of(known));
        }
        words.contains(&"otlp")
    }

    fn refuse_what_is_not_built(&mut self, signal: &str) {
        for (what, why) in NOT_BUILT {
            for name in [format!("OTEL_EXPORTER_OTLP_{what}"), format!("OTEL_EXPORTER_OTLP_{signal}_{what}")] {
                if let Some(found) = self.env.first(&[&name]).filter(|found| found.value != "none") {
                    self.errors.push(format!("{}: not supported: {why}", found.source));
                }
            }
        }
    }

    /// A secret: neither its text nor its names are ever shown.
    fn headers(&mut self, signal: &str) -> Vec<(String, SecretString)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS".to_owned()];
        let found = match self.env.secret(&names) {
            Ok(Some(found)) => found,
            Ok(None) => return Vec::new(),
            Err(error) => {
                self.errors.push(error);
                return Vec::new();
            }
        };
        if !self.sources.iter().any(|(setting, ..)| *setting == found.name) {
            self.sources.push((found.name.clone(), found.source.clone(), "set".to_owned()));
        }
        let Some(pairs) = pairs(&found.value).filter(|pairs| pairs.iter().all(|(n, v)| is_header(n, v))) else {
            self.errors.push(format!("{}: expected headers as name=value,name=value", found.source));
            return Vec::new();
        };
        pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), SecretString::from(value))).collect()
    }

    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(found) = self.found(name) else { return Vec::new() };
        pairs(&found.value).unwrap_or_else(|| {
            self.wrong(&found, "name=value,name=value");
            Vec::new()
        })
    }

    fn sampler(&mut self) -> Sampler {
        const WORDS: [&str; 6] = [
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ];
        let word = self.word("OTEL_TRACES_SAMPLER", &WORDS).unwrap_or("parentbased_always_on");
        let ratio = match self.found("OTEL_TRACES_SAMPLER_ARG") {
            Some(found) if word.ends_with("ratio") => {
                let ratio = found.value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                if ratio.is_none() {
                    self.wrong(&found, "a part from 0 to 1");
                }
                ratio.unwrap_or(1.0)
            }
            _ => 1.0,
        };
        match word {
            "always_on" => Sampler::Own(1.0),
            "always_off" => Sampler::Own(0.0),
            "traceidratio" => Sampler::Own(ratio),
            "parentbased_always_off" => Sampler::ParentOr(0.0),
            _ => Sampler::ParentOr(ratio),
        }
    }

    fn batching(&mut self, which: &str, default: Batching) -> Batching {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(1_000_000);
        let queue = self.number(&format!("OTEL_{which}_MAX_QUEUE_SIZE")).map_or(default.queue, size);
        let batch = self.number(&format!("OTEL_{which}_MAX_EXPORT_BATCH_SIZE")).map_or(default.batch, size);
        let delay = self.ms(&format!("OTEL_{which}_SCHEDULE_DELAY")).unwrap_or(default.delay);
        Batching { queue, batch: batch.min(queue), delay }
    }

    /// The two protocols have a port each, and are easily taken for each other.
    fn check_port(&mut self, target: Option<&Target>) {
        let Some(Target { protocol, url, .. }) = target else { return };
        let port = url::Url::parse(url).ok().and_then(|url| url.port());
        let (other, set) = match (protocol, port) {
            (Protocol::HttpProtobuf, Some(4317)) => ("gRPC", "grpc"),
            (Protocol::Grpc, Some(4318)) => ("HTTP", "http/protobuf"),
            _ => return,
        };
        let port = port.unwrap_or_default();
        self.notes.push(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT: {port} is the usual port for {other}; if that is what listens there, set \
             OTEL_EXPORTER_OTLP_PROTOCOL={set}"
        ));
    }
}

fn one_of(words: &[&str]) -> String {
    let (last, rest) = words.split_last().unwrap_or((&"", &[]));
    let rest: Vec<String> = rest.iter().map(|word| format!("`{word}`")).collect();
    format!("{} or `{last}`", rest.join(", "))
}

/// `name=value,name=value`, percent-encoded as in a `baggage` header.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(Cow::into_owned);
        let (name, value) = (decoded(name)?, decoded(value)?);
        (!name.is_empty()).then_some((name, value))
    };
    scalars::split(text).map(pair).collect()
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

    fn read_env(vars: &[(&str, &str)]) -> Read {
        let vars: BTreeMap<_, _> = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(&Environment::read(&vars, Path::new("/nonexistent")).unwrap())
    }

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let read = read_env(vars);
        assert_eq!(read.errors, Vec::<String>::new());
        read.settings
    }

    fn error(name: &str, value: &str) -> String {
        read_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), (name, value)]).errors.join("\n")
    }

    #[test]
    fn nothing_leaves_without_an_endpoint() {
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
    fn the_sdk_can_be_switched_off_whole() {
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
    fn a_mistake_is_told_with_what_was_expected_and_without_a_secret() {
        for (name, value, told) in [
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "`parentbased_traceidratio`, got `jaeger_remote`"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected `grpc` or `http/protobuf`, got `http/json`"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "expected an address such as http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "expected a whole number above 0, got `10s`"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "expected `otlp` or `none`"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not supported: nothing is compressed"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team", "expected name=value"),
            ("OTEL_SDK_DISABLED", "yes", "expected `true` or `false`"),
        ] {
            let said = error(name, value);
            assert!(said.contains(name) && said.contains(told) && said.lines().count() == 1, "{said}");
        }
        let said = error("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer hunter2");
        assert!(said.contains("expected headers as name=value") && !said.contains("hunter2"), "{said}");
        let ratio = read_env(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")]).errors;
        assert!(ratio[0].contains("expected a part from 0 to 1"), "{ratio:?}");
    }

    #[test]
    fn a_port_of_the_other_protocol_is_noted() {
        let notes = read_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]).notes;
        assert!(notes[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "{notes:?}");
    }
}
