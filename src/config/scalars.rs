//! Every setting that is one value or one list: its name in the file, its variables, its default, what it may be.
//!
//! One table drives the checks, the layering, the listing, and the tests that keep the examples complete.

use super::{Network, RedisUrl};

/// What a setting may be. A check says what was expected; it is never given a secret to repeat.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Int {
        least: i64,
        most: i64,
    },
    Text(fn(&str) -> Result<(), String>),
    /// An array in the file, comma-separated in the environment.
    List(fn(&str) -> Result<(), String>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar {
    /// `section.key`
    pub path: &'static str,
    /// Its variables beside `TOLLFREE__SECTION__KEY`; the first one set counts.
    pub env: &'static [&'static str],
    /// As it would be written in the environment; empty: unset.
    pub default: &'static str,
    pub kind: Kind,
}

/// A secret: only ever read from the environment, or from the file that `NAME_FILE` names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    pub env: &'static [&'static str],
    pub check: fn(&str) -> Result<(), String>,
}

const fn int(path: &'static str, env: &'static [&'static str], default: &'static str, least: i64, most: i64) -> Scalar {
    Scalar { path, env, default, kind: Kind::Int { least, most } }
}

const fn text(
    path: &'static str,
    env: &'static [&'static str],
    default: &'static str,
    check: fn(&str) -> Result<(), String>,
) -> Scalar {
    Scalar { path, env, default, kind: Kind::Text(check) }
}

const fn list(path: &'static str, env: &'static [&'static str], check: fn(&str) -> Result<(), String>) -> Scalar {
    Scalar { path, env, default: "", kind: Kind::List(check) }
}

const HOUR_MS: i64 = 3_600_000;

pub(super) const SCALARS: [Scalar; 24] = [
    text("server.host", &["HOST"], "127.0.0.1", host),
    int("server.port", &["PORT"], "3000", 0, 65_535),
    text("auth.mode", &["TOLLFREE_AUTH"], "", auth_mode),
    int("clients.rate_limit_rpm", &["RATE_LIMIT_RPM"], "", 1, 1_000_000_000),
    text("clients.file", &["TOLLFREE_CLIENTS_FILE"], "", path),
    int("http.body_bytes", &[], "16777216", 1_024, 1 << 30),
    list("http.allowed_origins", &["ALLOWED_ORIGINS"], origin),
    list("http.trusted_proxies", &["TRUSTED_PROXIES"], network),
    text("ledger.data_dir", &["TOLLFREE_DATA_DIR"], "", path),
    text("ledger.pool", &["TOLLFREE_POOL"], "default", pool),
    int("ledger.slack_ms", &[], "250", 0, 10_000),
    int("queue.max_wait_ms", &[], "30000", 0, HOUR_MS),
    int("queue.flex_max_wait_ms", &[], "600000", 0, HOUR_MS),
    int("breaker.failure_threshold", &["CB_FAILURE_THRESHOLD"], "3", 1, 1_000),
    int("breaker.success_threshold", &["CB_SUCCESS_THRESHOLD"], "2", 1, 1_000),
    int("breaker.open_ms", &["CB_TIMEOUT_MS"], "30000", 1, 24 * HOUR_MS),
    int("timeouts.route_ms", &["ROUTE_TIMEOUT_MS"], "30000", 1, HOUR_MS),
    int("timeouts.connect_ms", &[], "3000", 1, HOUR_MS),
    int("timeouts.first_content_ms", &[], "20000", 1, HOUR_MS),
    int("timeouts.silence_ms", &[], "30000", 1, HOUR_MS),
    int("shutdown.grace_ms", &[], "2000", 0, HOUR_MS),
    text("log.level", &["LOG_LEVEL"], "info", log_level),
    text("log.format", &["LOG_FORMAT"], "json", log_format),
    text("dashboard.trace_link", &[], "", trace_link),
];

pub(super) const REDIS_URL: Secret = Secret { env: &["REDIS_URL"], check: redis_url };
pub(super) const ADMIN_KEY: Secret = Secret { env: &["TOLLFREE_ADMIN_KEY", "FREELLM_ADMIN_KEY"], check: key };
pub(super) const API_KEY: Secret = Secret { env: &["TOLLFREE_API_KEY", "FREELLM_API_KEY"], check: key };
pub(super) const HTTPS_PROXY: Secret = Secret { env: &["HTTPS_PROXY", "https_proxy"], check: proxy };
pub(super) const SECRETS: [Secret; 4] = [REDIS_URL, ADMIN_KEY, API_KEY, HTTPS_PROXY];

impl Scalar {
    /// `TOLLFREE__QUEUE__MAX_WAIT_MS`
    pub fn long_env(&self) -> String {
        format!("TOLLFREE__{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Checks a value as the environment gives it.
    pub fn check_text(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Int { least, most } => {
                let expected = || format!("expected a whole number from {least} to {most}, got `{value}`");
                let n: i64 = value.parse().map_err(|_| expected())?;
                if (least..=most).contains(&n) { Ok(()) } else { Err(expected()) }
            }
            Kind::Text(check) => check(value),
            Kind::List(check) => split(value).try_for_each(check),
        }
    }
}

/// The parts of a comma-separated list.
pub(super) fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// What a bearer token may be made of, so that it fits a header. Says nothing of the key itself.
pub(super) fn key(value: &str) -> Result<(), String> {
    if value.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err("expected a key of visible ASCII characters, without blanks".into())
}

/// An `http` or `https` address.
pub(super) fn base_url(value: &str) -> Result<(), String> {
    let wrong = || format!("expected an address such as https://host/v1, got `{}`", without_password(value));
    let url = url::Url::parse(value).map_err(|_| wrong())?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|h| !h.is_empty());
    if is_http && url.query().is_none() && url.fragment().is_none() { Ok(()) } else { Err(wrong()) }
}

/// The value up to where a password could stand is kept from messages.
fn without_password(value: &str) -> &str {
    value.rsplit_once('@').map_or(value, |(_, host)| host)
}

fn proxy(value: &str) -> Result<(), String> {
    let known = url::Url::parse(value)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.host_str().is_some());
    if known { Ok(()) } else { Err("expected a proxy such as http://proxy:3128 or socks5://proxy:1080".into()) }
}

fn redis_url(value: &str) -> Result<(), String> {
    value.parse::<RedisUrl>().map(drop).map_err(|error| error.to_string())
}

fn path(value: &str) -> Result<(), String> {
    if value.contains(char::is_control) { Err("expected a path".into()) } else { Ok(()) }
}

fn host(value: &str) -> Result<(), String> {
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
    let is_name = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if is_name || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(());
    }
    Err(format!("expected an address or a host name to bind, such as 0.0.0.0 or ::, got `{value}`"))
}

fn auth_mode(value: &str) -> Result<(), String> {
    match value {
        "open" | "required" => Ok(()),
        _ => Err(format!("expected `open` or `required`, got `{value}`")),
    }
}

fn pool(value: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&value.len())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    if fits { Ok(()) } else { Err(format!("expected 1 to 64 of A-Z a-z 0-9 - _ . :, got `{value}`")) }
}

fn origin(value: &str) -> Result<(), String> {
    let is_origin =
        url::Url::parse(value).is_ok_and(|url| url.origin().is_tuple() && url.path() == "/") && !value.ends_with('/');
    if value == "*" || is_origin {
        return Ok(());
    }
    Err(format!("expected `*` or an origin such as https://app.example.com (no path), got `{value}`"))
}

fn network(value: &str) -> Result<(), String> {
    value.parse::<Network>().map(|_| ())
}

pub(super) fn model_id(value: &str) -> Result<(), String> {
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("expected a model's id, got `{value}`"));
    }
    Ok(())
}

/// A level, or directives as `info,tollfree::ledger=debug`. FreeLLM's `fatal` and `silent` are understood.
fn log_level(value: &str) -> Result<(), String> {
    const LEVELS: [&str; 8] = ["error", "warn", "info", "debug", "trace", "off", "fatal", "silent"];
    let level = |word: &str| LEVELS.contains(&word.to_lowercase().as_str());
    let right =
        |part: &str| part.split_once('=').map_or_else(|| level(part), |(target, l)| !target.is_empty() && level(l));
    if split(value).next().is_some() && split(value).all(right) {
        return Ok(());
    }
    Err(format!(
        "expected error, warn, info, debug, trace or off, or directives such as `info,tollfree::ledger=debug`, got `{value}`"
    ))
}

fn trace_link(value: &str) -> Result<(), String> {
    let is_http = url::Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http && value.contains("{trace_id}") && !value.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(format!(
        "expected an address with {{trace_id}} in it, such as https://traces.example/trace/{{trace_id}}, got `{value}`"
    ))
}

fn log_format(value: &str) -> Result<(), String> {
    match value {
        "json" | "text" => Ok(()),
        _ => Err(format!("expected `json` or `text`, got `{value}`")),
    }
}
