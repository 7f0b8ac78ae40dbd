//! The settings as the rest of the program sees them: checked, with defaults filled in.

use std::{collections::BTreeMap, fmt, net::IpAddr, ops::Deref, path::PathBuf, str::FromStr, sync::Arc};

use secrecy::SecretString;

use super::{RedisUrl, provider_table::ProviderTable};
use crate::{
    domain::{ClientRecord, RoutingStrategy},
    telemetry,
};

/// Everything an operator can set. Cross-field rules hold.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None`: embedded state.
    pub redis_url: Option<RedisUrl>,
    /// Where embedded state lives; `None`: the user's data directory.
    pub data_dir: Option<PathBuf>,
    /// Name of the budget pool, the hash tag of every key.
    pub pool: String,
    pub admin_key: Option<SecretString>,
    /// The one shared client key.
    pub api_key: Option<SecretString>,
    /// `None`: open on loopback while no client key exists, else required.
    pub auth: Option<AuthMode>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Requests per minute and client.
    pub rate_limit_rpm: Option<i64>,
    /// The file of hashes, and the members it lists.
    pub clients_file: Option<String>,
    pub clients: Arc<[ClientRecord]>,
    /// Where the web page links a trace to: an address with `{trace_id}` in it.
    pub trace_link: Option<String>,
    pub breaker: BreakerSettings,
    /// Bounds choosing and trying, not streaming.
    pub route_timeout_ms: u64,
    /// Origins that browsers may call from; `*` for all.
    pub allowed_origins: Vec<String>,
    pub queue: QueueSettings,
    /// σ of the ledger: how far arrivals at a provider may be shifted.
    pub slack_ms: i64,
    pub timeouts: Timeouts,
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// How long requests are still served after SIGTERM.
    pub grace_ms: u64,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives of `tracing`'s `EnvFilter`.
    pub log_level: String,
    /// False: lines for people.
    pub log_json: bool,
    /// Where traces, metrics and log lines go: the `OTEL_…` variables.
    pub telemetry: telemetry::Settings,
    pub https_proxy: Option<ProxyUrl>,
    /// What the operator set about providers: keys and addresses from the environment, all else from the file.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// Meta-models of the operator's own, and changed built-in ones.
    pub models: BTreeMap<String, MetaModelSettings>,
    pub ollama: OllamaSettings,
    /// Every setting in force: its name, where it came from, its value (`set` for secrets).
    pub sources: Arc<[(String, String, String)]>,
}

impl Default for Settings {
    /// What holds when nothing is set anywhere.
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 3000,
            redis_url: None,
            data_dir: None,
            pool: "default".into(),
            admin_key: None,
            api_key: None,
            auth: None,
            trusted_proxies: Vec::new(),
            rate_limit_rpm: None,
            clients_file: None,
            clients: Arc::new([]),
            trace_link: None,
            breaker: BreakerSettings { failure_threshold: 3, success_threshold: 2, open_ms: 30_000 },
            route_timeout_ms: 30_000,
            allowed_origins: Vec::new(),
            queue: QueueSettings { max_wait_ms: 30_000, flex_max_wait_ms: 600_000 },
            slack_ms: 250,
            timeouts: Timeouts { connect_ms: 3_000, first_token_ms: 20_000, stream_idle_ms: 30_000 },
            body_bytes: 16 * 1024 * 1024,
            grace_ms: 2_000,
            log_level: "info".into(),
            log_json: true,
            telemetry: telemetry::Settings::default(),
            https_proxy: None,
            providers: BTreeMap::new(),
            models: BTreeMap::new(),
            ollama: OllamaSettings::default(),
            sources: Arc::new([]),
        }
    }
}

/// Who may call without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// No bearer, or an unknown one, is anonymous.
    Open,
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failure_threshold: u32,
    /// Successes that close a half-open one.
    pub success_threshold: u32,
    /// How long it stays open.
    pub open_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// The longest a caller may wait for a slot; 0: never.
    pub max_wait_ms: u64,
    /// The same for `service_tier: "flex"`, where that is longer.
    pub flex_max_wait_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ms: u64,
    /// Until the first content arrives. A provider's own value wins.
    pub first_token_ms: u64,
    /// Between two chunks of a stream.
    pub stream_idle_ms: u64,
}

/// The local server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OllamaSettings {
    /// `None`: looked for on localhost:11434.
    pub base_url: Option<String>,
    /// Empty: the server is asked.
    pub models: Vec<String>,
}

/// What the operator set about one provider.
#[derive(Debug, Clone, Default)]
pub struct ProviderSettings {
    /// In the order of the variable; the table's `accounts` count from 1.
    pub keys: Vec<SecretString>,
    /// Where it lives: from the environment, else the file. Without a trailing slash.
    pub base_url: Option<String>,
    /// Its `[providers.NAME]` of the file.
    pub table: Option<ProviderTable>,
}

/// A meta-model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaModelSettings {
    /// Names, or patterns with `*`, of `provider/model`. Empty: what a built-in meta-model has by itself.
    pub members: Vec<String>,
    pub strategy: RoutingStrategy,
    /// Where it stands, for messages: `tollfree.toml:14:3`.
    pub place: String,
}

/// A range of addresses: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        // A v4 peer of a dual-stack socket shows itself as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        if address.is_ipv4() != self.address.is_ipv4() {
            return false;
        }
        let mask = if self.prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(self.prefix)) };
        bits(address) & mask == bits(self.address) & mask
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a range such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(p) => p.trim().parse().ok().filter(|p| *p <= widest).ok_or_else(wrong)?,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The proxy for calls to providers; may hold a password, so it is never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    pub fn new(url: String) -> Self {
        Self(url)
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
