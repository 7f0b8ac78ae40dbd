//! Defaults < file < environment for every scalar, and the settings they make.

use std::{collections::BTreeMap, str::FromStr};

use config::{Config, File, FileFormat, Map, Source, Value, ValueKind};
use secrecy::SecretString;
use toml::de::DeValue;

use super::{
    AuthMode, BreakerSettings, Network, ProxyUrl, QueueSettings, Settings, Timeouts,
    document::{Document, unknown_key},
    environment::{Environment, Found},
    scalars::{self, Kind, SCALARS, Scalar, Secret},
};

type Sources = Vec<(String, String, String)>;

/// What is wrong with the sections of scalars, each with its line. The two maps are read by their shapes.
pub(super) fn check_file(document: &Document<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut known: Vec<&str> =
        SCALARS.iter().filter_map(|s| s.path.split_once('.')).map(|(section, _)| section).collect();
    known.dedup();
    known.extend(["providers", "models"]);
    for (section, span, value) in document.sections() {
        if !known.contains(&section) {
            errors.push(document.error_at(&span, &unknown_key(section, &known)));
            continue;
        }
        let Some(table) = value.as_table() else {
            errors.push(document.error_at(&span, &format!("{section}: expected a table, [{section}]")));
            continue;
        };
        if matches!(section, "providers" | "models") {
            continue;
        }
        for (key, value) in table {
            let path = format!("{section}.{}", key.get_ref());
            let Some(scalar) = SCALARS.iter().find(|s| s.path == path) else {
                let keys = SCALARS.iter().filter_map(|s| s.path.strip_prefix(section)?.strip_prefix('.'));
                let what = unknown_key(key.get_ref(), &keys.collect::<Vec<_>>());
                errors.push(document.error_at(&key.span(), &format!("{section}: {what}")));
                continue;
            };
            if let Err(what) = check_value(scalar, value.get_ref()) {
                errors.push(document.error_at(&value.span(), &format!("{path}: {what}")));
            }
        }
    }
    errors
}

fn check_value(scalar: &Scalar, value: &DeValue<'_>) -> Result<(), String> {
    match (scalar.kind, value) {
        (Kind::Int { .. }, DeValue::Integer(n)) => scalar.check_text(&n.to_string()),
        (Kind::Int { least, most }, other) => {
            Err(format!("expected a whole number from {least} to {most}, got {}", named(other)))
        }
        (Kind::Text(check), DeValue::String(text)) => check(text),
        (Kind::Text(_), other) => Err(format!("expected a string, got {}", named(other))),
        (Kind::List(check), DeValue::Array(items)) => items.iter().try_for_each(|item| {
            let text = item.get_ref().as_str();
            text.map_or_else(|| Err(format!("expected strings, got {}", named(item.get_ref()))), check)
        }),
        (Kind::List(_), other) => Err(format!("expected an array of strings, got {}", named(other))),
    }
}

fn named(value: &DeValue<'_>) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("{article} {}", value.type_str())
}

/// Layers the scalars and reads the secrets. The settings hold only as far as no errors came with them.
pub(super) fn merge(document: Option<&Document<'_>>, env: &Environment) -> (Settings, Sources, Vec<String>) {
    let (mut errors, mut sources) = (Vec::new(), Sources::new());
    let leaves = document.map(Document::leaves).unwrap_or_default();
    let mut layer = EnvironmentLayer::default();
    for scalar in &SCALARS {
        let long = scalar.long_env();
        let names: Vec<&str> = std::iter::once(long.as_str()).chain(scalar.env.iter().copied()).collect();
        let in_file = leaves.iter().find(|leaf| leaf.path.join(".") == scalar.path);
        let (source, value) = if let Some(Found { value, source, .. }) = env.first(&names) {
            if let Err(what) = scalar.check_text(&value) {
                errors.push(format!("{source}: {what}"));
                continue;
            }
            layer.0.insert(scalar.path, (source.clone(), scalar.kind, value.clone()));
            (source, value)
        } else if let (Some(leaf), Some(document)) = (in_file, document) {
            (document.source(leaf.line), leaf.text.clone())
        } else {
            ("default".to_owned(), if scalar.default.is_empty() { "unset".into() } else { scalar.default.into() })
        };
        sources.push((scalar.path.to_owned(), source, value));
    }
    for leaf in leaves.iter().filter(|leaf| matches!(leaf.path[0].as_str(), "providers" | "models")) {
        let source = document.map_or_else(String::new, |d| d.source(leaf.line));
        sources.push((super::document::dotted(&leaf.path), source, leaf.text.clone()));
    }
    let mut settings = match layered(document, layer) {
        Ok(settings) => settings,
        Err(error) => {
            // The checks above speak first and better; this is what they let through.
            if errors.is_empty() {
                errors.push(error.to_string());
            }
            Settings::default()
        }
    };
    let mut secret = |kind: Secret| {
        let found = env.secret(kind.env).unwrap_or_else(|error| {
            errors.push(error);
            None
        })?;
        if let Err(what) = (kind.check)(&found.value) {
            errors.push(format!("{}: {what}", found.source));
        }
        sources.push((kind.env[0].to_owned(), found.source, "set".to_owned()));
        Some(found.value)
    };
    settings.redis_url = secret(scalars::REDIS_URL).and_then(|url| url.parse().ok());
    settings.admin_key = secret(scalars::ADMIN_KEY).map(SecretString::from);
    settings.api_key = secret(scalars::API_KEY).map(SecretString::from);
    settings.https_proxy = secret(scalars::HTTPS_PROXY).map(ProxyUrl::new);
    (settings, sources, errors)
}

/// The environment as the uppermost layer; each value remembers the variable it came from.
#[derive(Debug, Clone, Default)]
struct EnvironmentLayer(BTreeMap<&'static str, (String, Kind, String)>);

impl Source for EnvironmentLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value = |(source, kind, text): &(String, Kind, String)| Value::new(Some(source), value_of(*kind, text));
        Ok(self.0.iter().map(|(path, entry)| ((*path).to_owned(), value(entry))).collect())
    }
}

fn value_of(kind: Kind, text: &str) -> ValueKind {
    match kind {
        Kind::List(_) => {
            ValueKind::Array(scalars::split(text).map(|part| Value::new(None, ValueKind::from(part))).collect())
        }
        Kind::Int { .. } | Kind::Text(_) => ValueKind::from(text),
    }
}

fn layered(document: Option<&Document<'_>>, env: EnvironmentLayer) -> Result<Settings, config::ConfigError> {
    let mut builder = Config::builder();
    for scalar in SCALARS.iter().filter(|s| !s.default.is_empty()) {
        builder = builder.set_default(scalar.path, scalar.default)?;
    }
    if let Some(document) = document {
        builder = builder.add_source(File::from_str(document.text(), FileFormat::Toml));
    }
    fill(&builder.add_source(env).build()?)
}

/// Reads the merged layers, one line per setting.
fn fill(from: &Config) -> Result<Settings, config::ConfigError> {
    let optional = |path: &str| match from.get_string(path) {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        Ok(_) | Err(config::ConfigError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let list = |path: &str| match from.get::<Vec<String>>(path) {
        Err(config::ConfigError::NotFound(_)) => Ok(Vec::new()),
        other => other,
    };
    Ok(Settings {
        host: from.get_string("server.host")?,
        port: from.get("server.port")?,
        data_dir: optional("ledger.data_dir")?.map(Into::into),
        pool: from.get_string("ledger.pool")?,
        auth: optional("auth.mode")?.map(|mode| if mode == "open" { AuthMode::Open } else { AuthMode::Required }),
        trusted_proxies: list("http.trusted_proxies")?.iter().filter_map(|n| Network::from_str(n).ok()).collect(),
        rate_limit_rpm: match from.get_int("clients.rate_limit_rpm") {
            Err(config::ConfigError::NotFound(_)) => None,
            other => Some(other?),
        },
        clients_file: optional("clients.file")?,
        trace_link: optional("dashboard.trace_link")?,
        breaker: BreakerSettings {
            failure_threshold: from.get("breaker.failure_threshold")?,
            success_threshold: from.get("breaker.success_threshold")?,
            open_ms: from.get("breaker.open_ms")?,
        },
        route_timeout_ms: from.get("timeouts.route_ms")?,
        allowed_origins: list("http.allowed_origins")?,
        queue: QueueSettings {
            max_wait_ms: from.get("queue.max_wait_ms")?,
            flex_max_wait_ms: from.get("queue.flex_max_wait_ms")?,
        },
        slack_ms: from.get("ledger.slack_ms")?,
        timeouts: Timeouts {
            connect_ms: from.get("timeouts.connect_ms")?,
            first_token_ms: from.get("timeouts.first_content_ms")?,
            stream_idle_ms: from.get("timeouts.silence_ms")?,
        },
        body_bytes: from.get("http.body_bytes")?,
        grace_ms: from.get("shutdown.grace_ms")?,
        log_level: level(&from.get_string("log.level")?),
        log_json: from.get_string("log.format")? == "json",
        ..Settings::default()
    })
}

/// FreeLLM's words for two levels, in ours.
fn level(directives: &str) -> String {
    let ours = |word: &str| match word.to_lowercase().as_str() {
        "fatal" => "error".to_owned(),
        "silent" => "off".to_owned(),
        level => level.to_owned(),
    };
    let part =
        |part: &str| part.split_once('=').map_or_else(|| ours(part), |(to, level)| format!("{to}={}", ours(level)));
    scalars::split(directives).map(part).collect::<Vec<_>>().join(",")
}
