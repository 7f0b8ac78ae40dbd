//! The settings as the rest of the program sees them. A section is a table of `tollfree.toml`, and `Settings::default` is
//! the only place where defaults are written down.

use std::{
    collections::BTreeMap, fmt, net::IpAddr, ops::Deref, path::PathBuf, str::FromStr, sync::Arc, time::Duration,
};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{RedisUrl, provider_table::ProviderTable, value};
use crate::{
    domain::{
        ClientRecord, ModelFindings, PriceList, RoutingStrategy,
        time::{DAY_MS, HOUR_MS},
    },
    telemetry,
};

/// Everything an operator can set. The rules that span several settings hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    pub server: ServerSettings,
    pub http: HttpSettings,
    pub auth: AuthSettings,
    pub clients: ClientsSettings,
    pub ledger: LedgerSettings,
    pub queue: QueueSettings,
    pub routing: RoutingSettings,
    pub responses: ResponsesSettings,
    pub breaker: BreakerSettings,
    pub timeouts: Timeouts,
    pub limits: LimitSettings,
    pub shutdown: ShutdownSettings,
    pub log: LogSettings,
    pub dashboard: DashboardSettings,
    pub catalog: CatalogSettings,
    /// `None`: embedded state.
    #[serde(skip)]
    pub redis_url: Option<RedisUrl>,
    #[serde(skip)]
    pub admin_key: Option<SecretString>,
    /// The shared client key.
    #[serde(skip)]
    pub api_key: Option<SecretString>,
    /// Seals what clients keep for the gateway. `None`: the admin key does.
    #[serde(skip)]
    pub seal_key: Option<SecretString>,
    /// They wrap the provider keys in the store: the first one wraps, all of them open.
    #[serde(skip)]
    pub master_keys: Vec<SecretString>,
    /// The proxy for calls to providers at `https://` addresses.
    #[serde(skip)]
    pub https_proxy: Option<ProxyUrl>,
    /// Hosts that are reached without the proxy: names, domains, addresses, ranges, `*`.
    #[serde(skip)]
    pub no_proxy: Option<String>,
    /// Where traces, metrics and logs are exported to: the `OTEL_…` variables.
    #[serde(skip)]
    pub telemetry: telemetry::Settings,
    /// Keys and addresses from the environment, everything else from `[providers.NAME]`.
    #[serde(skip)]
    pub providers: BTreeMap<String, ProviderSettings>,
    /// `[models.NAME]`: the operator's meta-models, and changes to the built-in ones.
    #[serde(skip)]
    pub models: BTreeMap<String, MetaModelSettings>,
    /// `[aliases]`, in the order of the file.
    #[serde(skip)]
    pub aliases: Vec<ModelAlias>,
    /// `[prices]`, in the order of the file.
    #[serde(skip)]
    pub prices: PriceList,
    #[serde(skip)]
    pub ollama: OllamaSettings,
    #[serde(skip)]
    pub sources: Arc<[SettingSource]>,
    /// The files with content that the settings were read from.
    #[serde(skip)]
    pub files: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings { host: "127.0.0.1".into(), port: 3000, public_url: None },
            http: HttpSettings {
                body_bytes: 16 << 20,
                upload_bytes: 64 << 20,
                allowed_origins: Vec::new(),
                trusted_proxies: Vec::new(),
                base_path: String::new(),
                hosts: Vec::new(),
            },
            auth: AuthSettings { mode: None },
            clients: ClientsSettings { rate_limit_rpm: None, file: None, records: Arc::default() },
            ledger: LedgerSettings { data_dir: None, pool: "default".into(), slack_ms: 250 },
            queue: QueueSettings { max_wait_ms: 30_000, flex_max_wait_ms: 600_000, outage_requests: 1_000 },
            routing: RoutingSettings { quality_floor: 25, keyless: Vec::new() },
            responses: ResponsesSettings { store: None, store_bytes_per_client: 16 << 20 },
            breaker: BreakerSettings { failure_threshold: 3, success_threshold: 2, open_ms: 30_000 },
            timeouts: Timeouts {
                route_ms: 30_000,
                connect_ms: 3_000,
                first_token_ms: 20_000,
                stream_idle_ms: 30_000,
                write_ms: 60_000,
            },
            limits: LimitSettings { in_flight: 4_096, memory_mb: None },
            shutdown: ShutdownSettings { grace_ms: 2_000 },
            log: LogSettings { level: "info".into(), format: LogFormat::Json },
            catalog: CatalogSettings { url: None, file: None, public_key: None },
            dashboard: DashboardSettings { trace_link: None, currency: "USD".into() },
            redis_url: None,
            admin_key: None,
            api_key: None,
            seal_key: None,
            master_keys: Vec::new(),
            https_proxy: None,
            no_proxy: None,
            telemetry: telemetry::Settings::default(),
            providers: BTreeMap::new(),
            models: BTreeMap::new(),
            aliases: Vec::new(),
            prices: PriceList { currency: "USD".into(), ..PriceList::default() },
            ollama: OllamaSettings::default(),
            sources: Arc::default(),
            files: Vec::new(),
        }
    }
}

/// One setting in force, for `tollfree check` and the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingSource {
    /// `queue.max_wait_ms`, or the variable's name for settings of the environment alone.
    pub name: String,
    /// `default`, `tollfree.toml:12`, `env PORT` or `.env PORT`.
    pub source: String,
    /// As it was written; `set` for secrets.
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSettings {
    #[serde(deserialize_with = "value::host")]
    pub host: String,
    #[serde(deserialize_with = "value::whole::<_, _, 0, 65_535>")]
    pub port: u16,
    /// The address under which clients reach the gateway, without a slash at its end.
    #[serde(deserialize_with = "value::public_url")]
    pub public_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpSettings {
    /// Largest request body.
    #[serde(deserialize_with = "value::whole::<_, _, 1_024, 1_073_741_824>")]
    pub body_bytes: usize,
    /// Largest form with a recording, which waits in a file.
    #[serde(deserialize_with = "value::whole::<_, _, 1_024, 1_073_741_824>")]
    pub upload_bytes: usize,
    /// Origins whose pages may call the gateway from a browser.
    #[serde(with = "value::list")]
    pub allowed_origins: Vec<Origin>,
    /// Peers whose `X-Forwarded-For` header is trusted.
    #[serde(with = "value::list")]
    pub trusted_proxies: Vec<Network>,
    /// The path of a shared host below which an ingress serves the gateway: empty, or such as `/llm`.
    #[serde(deserialize_with = "value::base_path")]
    pub base_path: String,
    /// Names by which an open gateway on this machine is called, beside `localhost`.
    #[serde(with = "value::list")]
    pub hosts: Vec<HostName>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthSettings {
    /// `None`: open on loopback while no client key exists, else required.
    #[serde(deserialize_with = "value::optional_name")]
    pub mode: Option<AuthMode>,
}

/// Whether a call needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Calls without a key, or with one that is not a client key, are anonymous.
    Open,
    Required,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientsSettings {
    /// Requests per minute of each client that has no `rpm` limit of its own.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, 1_000_000_000>")]
    pub rate_limit_rpm: Option<i64>,
    /// A file of client records with hashes instead of keys.
    pub file: Option<String>,
    /// The clients of that file.
    #[serde(skip)]
    pub records: Arc<[ClientRecord]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerSettings {
    /// Where embedded state is stored. `None`: the user's data directory.
    pub data_dir: Option<PathBuf>,
    /// Name of the budget pool, the hash tag of every Redis key.
    #[serde(deserialize_with = "value::pool")]
    pub pool: String,
    /// How far apart two calls can arrive at a provider compared to when they were sent.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 10_000>")]
    pub slack_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// The longest a request may wait for room; 0: no waiting.
    #[serde(deserialize_with = "value::whole::<_, _, 0, HOUR_MS>")]
    pub max_wait_ms: u64,
    /// The same for `service_tier: "flex"`, where that is longer.
    #[serde(deserialize_with = "value::whole::<_, _, 0, HOUR_MS>")]
    pub flex_max_wait_ms: u64,
    /// The most requests of a replica that wait while Redis cannot be reached.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 100_000>")]
    pub outage_requests: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingSettings {
    /// Models of less quality come after all others of their meta-model that have room.
    #[serde(deserialize_with = "value::whole::<_, _, 0, 100>")]
    pub quality_floor: u32,
    /// Providers that are called without a key while they have none.
    #[serde(with = "value::list")]
    pub keyless: Vec<ProviderName>,
}

/// A name as in `[providers.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderName(String);

impl Deref for ProviderName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderName {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
        if name.is_empty() || !is_name {
            Err("names of providers: a-z, 0-9, - and _".into())
        } else {
            Ok(Self(name.into()))
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Storage of `/v1/responses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponsesSettings {
    /// How long responses are stored. `None`: prompts and responses are never stored.
    #[serde(with = "value::optional_period")]
    pub store: Option<Duration>,
    /// The oldest responses of a client are forgotten beyond this size.
    #[serde(deserialize_with = "value::whole::<_, _, 1_024, 10_737_418_240>")]
    pub store_bytes_per_client: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSettings {
    /// Consecutive failures that open a breaker.
    #[serde(deserialize_with = "value::whole::<_, _, 1, 1_000>")]
    pub failure_threshold: u32,
    /// Successes that close a half-open breaker.
    #[serde(deserialize_with = "value::whole::<_, _, 1, 1_000>")]
    pub success_threshold: u32,
    /// How long a breaker stays open before a probe.
    #[serde(deserialize_with = "value::whole::<_, _, 1, DAY_MS>")]
    pub open_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For choosing and trying candidates; it does not bound streaming.
    #[serde(deserialize_with = "value::whole::<_, _, 1, HOUR_MS>")]
    pub route_ms: u64,
    #[serde(deserialize_with = "value::whole::<_, _, 1, HOUR_MS>")]
    pub connect_ms: u64,
    /// Until the first content arrives. A provider's own value wins.
    #[serde(deserialize_with = "value::whole::<_, _, 1, HOUR_MS>")]
    pub first_token_ms: u64,
    /// Between two chunks of a stream.
    #[serde(deserialize_with = "value::whole::<_, _, 1, HOUR_MS>")]
    pub stream_idle_ms: u64,
    /// For a caller to take the next bytes of a response.
    #[serde(deserialize_with = "value::whole::<_, _, 1, HOUR_MS>")]
    pub write_ms: u64,
}

/// Bounds of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSettings {
    /// Requests at a time, waiting ones included.
    #[serde(deserialize_with = "value::whole::<_, _, 1, 1_000_000>")]
    pub in_flight: usize,
    /// MiB for bodies and what is held of streams. `None`: half of the container's memory, at most 96 MiB.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 16, 1_000_000>")]
    pub memory_mb: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShutdownSettings {
    /// How long requests are still accepted after SIGTERM.
    #[serde(deserialize_with = "value::whole::<_, _, 0, HOUR_MS>")]
    pub grace_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Directives of `tracing_subscriber`'s `EnvFilter`.
    #[serde(deserialize_with = "value::log_level")]
    pub level: String,
    #[serde(deserialize_with = "value::name")]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    /// Lines for people.
    Text,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DashboardSettings {
    /// Where the dashboard links a trace to: an address that contains `{trace_id}`.
    #[serde(deserialize_with = "value::trace_link")]
    pub trace_link: Option<String>,
    /// Of `[prices]`, as the page Usage shows it.
    #[serde(deserialize_with = "value::currency")]
    pub currency: String,
}

/// A catalogue that is laid over the built-in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSettings {
    /// Where it is fetched, at the start and daily. `None`: never.
    #[serde(deserialize_with = "value::web_address")]
    pub url: Option<String>,
    /// Where it is kept between two starts.
    pub file: Option<PathBuf>,
    /// The key that has signed it: PEM, or 32 bytes in Base64. `None`: that of the releases, if the program was built with one.
    pub public_key: Option<String>,
}

/// The local server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OllamaSettings {
    /// `None`: tried on localhost:11434.
    pub base_url: Option<String>,
    /// Empty: the server lists its models itself.
    pub models: Vec<String>,
}

/// What the operator set for one provider.
#[derive(Debug, Clone, Default)]
pub struct ProviderSettings {
    /// In the order of the variable; `accounts` of the table count from 1.
    pub keys: Vec<SecretString>,
    /// Keys that were added at run time. Loading leaves it empty.
    pub added_keys: Vec<AddedKey>,
    /// Accounts of its keys, by fingerprint, as administrators have grouped them. Loading leaves it empty.
    pub groups: BTreeMap<String, String>,
    /// What its list of models has shown. Loading leaves it empty.
    pub findings: ModelFindings,
    /// It is called without a key while it has none.
    pub keyless: bool,
    /// The same, as an administrator has switched it on at run time. Loading leaves it off.
    pub keyless_added: bool,
    /// From the environment, else from the file. Without a trailing slash.
    pub base_url: Option<String>,
    /// Its `[providers.NAME]` of the file.
    pub table: Option<ProviderTable>,
}

/// A provider key from the store of the ledger.
#[derive(Debug, Clone)]
pub struct AddedKey {
    pub secret: SecretString,
    /// The account that it belongs to.
    pub account: String,
}

/// `[models.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaModelSettings {
    /// `provider/model` names, or patterns with `*`. Empty: the members that a built-in meta-model has by default.
    pub members: Vec<String>,
    pub strategy: RoutingStrategy,
    /// Its place in the file, for messages: `tollfree.toml:14:3`.
    pub place: String,
}

/// `"gpt-4*" = "free"`: names that clients send, and the model that serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// A name, or a pattern with `*`.
    pub pattern: String,
    /// A meta-model or a model, by any of its names.
    pub model: String,
    /// Its place in the file, for messages: `tollfree.toml:14:3`.
    pub place: String,
}

/// The origin of web pages, apps or browser extensions, in lower case: `https://app.example.com`, `app://obsidian.md`. `*`
/// is any origin, `https://*.example.com` any subdomain, and `capacitor://` every origin of that scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether the value of an `Origin` header is this origin.
    pub fn matches(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self.0.split_once("://*.") {
            Some((scheme, domain)) => origin
                .strip_prefix(scheme)
                .and_then(|rest| rest.strip_prefix("://")?.strip_suffix(domain)?.strip_suffix('.'))
                .is_some_and(|name| !name.is_empty() && !name.contains(['/', ':', '@'])),
            None if self.0.ends_with("://") => origin.starts_with(&self.0),
            None => self.is_any() || self.0 == origin,
        }
    }
}

impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
            let host = host.strip_prefix("*.").unwrap_or(host);
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            // Only the origin of apps such as `capacitor://` may have no host.
            let has_host = !host.is_empty() || !matches!(scheme, "http" | "https");
            let is_url = !matches!(scheme, "http" | "https") || url::Url::parse(&format!("{scheme}://{host}")).is_ok();
            is_scheme
                && has_host
                && is_url
                && !host.contains(['/', '?', '#', '@', '*'])
                && !host.contains(char::is_whitespace)
        });
        if text == "*" || is_origin {
            return Ok(Self(text));
        }
        Err("`*`, or origins such as https://app.example.com, https://*.example.com or app://obsidian.md (without a path)".into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address or a range of addresses: `::1`, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        // An IPv4 peer of a dual-stack socket appears as ::ffff:a.b.c.d.
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Self).ok_or_else(|| "addresses or ranges such as 10.0.0.0/8".into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name by which a gateway is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if is_name { Ok(Self(text.to_ascii_lowercase())) } else { Err("names such as gate.lan".into()) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of a proxy. It may contain a password, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl FromStr for ProxyUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_proxy =
            |url: url::Url| matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.has_host();
        if url::Url::parse(text).is_ok_and(is_proxy) {
            return Ok(Self(text.to_owned()));
        }
        Err("expected a proxy such as http://proxy:3128 or socks5://proxy:1080".into())
    }
}

impl Deref for ProxyUrl {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(set)")
    }
}
