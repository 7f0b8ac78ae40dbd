//! Names of every setting of a section: its path, its environment variables, and its earlier spelling.

use std::sync::LazyLock;

use super::Settings;

/// Variables beside `TOLLFREE__SECTION__KEY`.
const SHORT_NAMES: [(&str, &str); 18] = [
    ("server.host", "HOST"),
    ("server.port", "PORT"),
    ("server.public_url", "TOLLFREE_PUBLIC_URL"),
    ("auth.mode", "TOLLFREE_AUTH"),
    ("clients.rate_limit_rpm", "RATE_LIMIT_RPM"),
    ("clients.file", "TOLLFREE_CLIENTS_FILE"),
    ("http.allowed_origins", "ALLOWED_ORIGINS"),
    ("http.trusted_proxies", "TRUSTED_PROXIES"),
    ("ledger.data_dir", "TOLLFREE_DATA_DIR"),
    ("ledger.pool", "TOLLFREE_POOL"),
    ("routing.keyless", "TOLLFREE_KEYLESS"),
    ("catalog.url", "TOLLFREE_CATALOG_URL"),
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
pub struct Setting {
    /// `queue.max_wait_ms`
    pub path: String,
    /// As `tollfree check` shows it; `unset` where there is none.
    pub default: String,
    /// Its variables. The first one that is set counts.
    pub variables: Vec<String>,
    pub earlier_path: Option<&'static str>,
}

/// Every setting of every section, found in the defaults.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
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
