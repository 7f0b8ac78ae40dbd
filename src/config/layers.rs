//! Defaults < file < environment for every setting of a section, layered by the `config` crate.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use config::{Config, ConfigError, Value};
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::{
    Findings, Settings,
    document::{Document, explain, unknown_key, with_value},
    environment::Environment,
};

/// Variables beside `TOLLFREE__SECTION__KEY`.
const SHORT_NAMES: [(&str, &str); 15] = [
    ("server.host", "HOST"),
    ("server.port", "PORT"),
    ("auth.mode", "TOLLFREE_AUTH"),
    ("clients.rate_limit_rpm", "RATE_LIMIT_RPM"),
    ("clients.file", "TOLLFREE_CLIENTS_FILE"),
    ("http.allowed_origins", "ALLOWED_ORIGINS"),
    ("http.trusted_proxies", "TRUSTED_PROXIES"),
    ("ledger.data_dir", "TOLLFREE_DATA_DIR"),
    ("ledger.pool", "TOLLFREE_POOL"),
    ("breaker.failure_threshold", "CB_FAILURE_THRESHOLD"),
    ("breaker.success_threshold", "CB_SUCCESS_THRESHOLD"),
    ("breaker.open_ms", "CB_TIMEOUT_MS"),
    ("timeouts.route_ms", "ROUTE_TIMEOUT_MS"),
    ("log.level", "LOG_LEVEL"),
    ("log.format", "LOG_FORMAT"),
];

/// Settings whose earlier spelling is still accepted, in the file and in the environment.
const EARLIER_NAMES: [(&str, &str); 2] =
    [("timeouts.first_token_ms", "timeouts.first_content_ms"), ("timeouts.stream_idle_ms", "timeouts.silence_ms")];

/// One setting of a section.
pub(super) struct Setting {
    /// `queue.max_wait_ms`
    pub path: String,
    /// As `tollfree check` shows it; `unset` where there is none.
    pub default: String,
    /// Its variables. The first one that is set counts.
    pub variables: Vec<String>,
    earlier_path: Option<&'static str>,
}

/// Every setting of every section, found in the defaults.
pub(super) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
    let sections = defaults.as_object().into_iter().flatten();
    let keys =
        sections.flat_map(|(section, keys)| keys.as_object().into_iter().flatten().map(move |key| (section, key)));
    keys.map(|(section, (key, value))| {
        let path = format!("{section}.{key}");
        let other = |names: &[(&str, &'static str)]| names.iter().find(|(of, _)| *of == path).map(|(_, name)| *name);
        let (short, earlier_path) = (other(&SHORT_NAMES), other(&EARLIER_NAMES));
        let default = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Setting {
            default: if matches!(default.as_str(), "" | "null") { "unset".to_owned() } else { default },
            variables: [Some(variable(&path)), short.map(str::to_owned), earlier_path.map(variable)]
                .into_iter()
                .flatten()
                .collect(),
            earlier_path,
            path,
        }
    })
    .collect()
});

/// `TOLLFREE__QUEUE__MAX_WAIT_MS`
fn variable(path: &str) -> String {
    format!("TOLLFREE__{}", path.replace('.', "__").to_uppercase())
}

/// Lays the environment over the sections of the file. Each value is checked alone, so that every mistake is found and
/// belongs to its place. The settings hold only if there is none.
pub(super) fn merge(document: Option<&Document<'_>>, env: &Environment, findings: &mut Findings) -> Settings {
    let file = document.map(|document| sections(document, findings)).unwrap_or_default();
    let mut variables = HashMap::new();
    for setting in SETTINGS.iter() {
        if let Some(found) = env.first(&setting.variables) {
            let variable = (setting.variables[0].clone(), found.value.clone());
            if let Err(error) = layered(&BTreeMap::new(), HashMap::from([variable.clone()])) {
                findings.errors.push(format!("{}: {}", found.source, with_value(&reason(&error), &found.value)));
            }
            variables.extend([variable]);
            findings.source(&setting.path, found.source, found.value);
        } else if let Some(value) = file.get(&*setting.path) {
            findings.source(&setting.path, value.source.clone(), value.text.clone());
        } else {
            findings.source(&setting.path, "default".to_owned(), setting.default.clone());
        }
    }
    layered(&file, variables).unwrap_or_else(|error| {
        if findings.errors.is_empty() {
            findings.errors.push(error.to_string());
        }
        Settings::default()
    })
}

struct InFile {
    value: Value,
    source: String,
    text: String,
}

/// The values of the file's sections by path, in today's spelling.
fn sections(document: &Document<'_>, findings: &mut Findings) -> BTreeMap<&'static str, InFile> {
    let mut known: Vec<&str> = SETTINGS.iter().filter_map(|setting| setting.path.split('.').next()).collect();
    known.dedup();
    known.extend(["providers", "models"]);
    let mut file = BTreeMap::new();
    for (key, value) in document.root() {
        let section = key.get_ref().as_ref();
        match value.get_ref().as_table() {
            _ if !known.contains(&section) => {
                findings.errors.push(document.error_at(&key.span(), &unknown_key(section, &known)));
            }
            None => {
                let message = format!("{section}: expected a table, [{section}]");
                findings.errors.push(document.error_at(&key.span(), &message));
            }
            Some(_) if matches!(section, "providers" | "models") => {}
            Some(table) => {
                for (key, value) in table {
                    let found = in_file(document, section, key, value);
                    file.extend(findings.take(found));
                }
            }
        }
    }
    file
}

fn in_file<'i>(
    document: &Document<'i>,
    section: &str,
    key: &Spanned<DeString<'i>>,
    value: &Spanned<DeValue<'i>>,
) -> Result<(&'static str, InFile), String> {
    let path = format!("{section}.{}", key.get_ref());
    let setting = SETTINGS.iter().find(|setting| setting.path == path || setting.earlier_path == Some(&*path));
    let Some(Setting { path: name, .. }) = setting else {
        let keys = SETTINGS.iter().filter_map(|setting| setting.path.strip_prefix(section)?.strip_prefix('.'));
        let message = unknown_key(key.get_ref(), &keys.collect::<Vec<_>>());
        return Err(document.error_at(&key.span(), &format!("{section}: {message}")));
    };
    let (source, text) = (document.source(&key.span()), document.written(&value.span()));
    let found = InFile { value: document.read(value.clone())?, source, text };
    let alone = BTreeMap::from([(name.as_str(), found)]);
    layered(&alone, HashMap::new()).map_err(|error| {
        let message = with_value(&reason(&error), &document.written(&value.span()));
        document.error_at(&value.span(), &format!("{path}: {message}"))
    })?;
    alone.into_iter().next().ok_or_else(String::new)
}

fn layered(file: &BTreeMap<&'static str, InFile>, variables: HashMap<String, String>) -> Result<Settings, ConfigError> {
    let mut sections = Config::builder();
    for (path, found) in file {
        sections = sections.set_override(path, found.value.clone())?;
    }
    let environment = config::Environment::with_prefix("TOLLFREE").prefix_separator("__").separator("__");
    Config::builder()
        .add_source(Config::try_from(&Settings::default())?)
        .add_source(sections.build()?)
        .add_source(environment.source(Some(variables)))
        .build()?
        .try_deserialize()
}

/// The innermost error, without the path that `config` adds.
fn reason(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => reason(error),
        ConfigError::Type { expected, .. } => format!("expected {expected}"),
        other => explain(&other.to_string()),
    }
}
