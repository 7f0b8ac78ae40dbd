//! What can be told to the simulator: a port and a profile laid over the built-in one (`real.toml`).
//!
//! Every member of a profile is optional. `POST /_control/profile` takes the same shape as JSON and lays it over what is in force.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use serde::Deserialize;

use super::accounting::limit::{Charge, Kind, LimitName};

/// How to start the simulator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorSettings {
    /// Where to listen: loopback, unless gateways in other containers shall reach it.
    pub host: IpAddr,
    /// 0 takes a free one.
    pub port: u16,
    /// Server threads; 0 means one.
    pub workers: usize,
    pub profile: Profile,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 0, workers: 0, profile: Profile::default() }
    }
}

/// What differs from the built-in profile.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// `real` (as built in), or `unlimited`: no limits, no latency, no log. Applied before the rest of this profile.
    pub base: Option<Base>,
    /// Seed of jitter and latency.
    pub seed: Option<u64>,
    /// False: limits are audited but nothing is refused.
    pub enforce: Option<bool>,
    /// Lines kept for `/_audit/log`, oldest dropped first; 0 keeps none.
    pub log: Option<usize>,
    /// Laid over every provider, before `providers`.
    pub every_provider: Option<ProviderProfile>,
    pub providers: BTreeMap<String, ProviderProfile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    Real,
    Unlimited,
}

/// One provider: what it counts, how fast it is, and the answers to the open questions about it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderProfile {
    pub name: Option<String>,
    /// Account → its keys. Replaces the built-in accounts. A provider without accounts takes any key or none.
    pub accounts: Option<BTreeMap<String, Vec<String>>>,
    /// Limits of an account over all its models.
    pub limits: Option<LimitsProfile>,
    pub window: Option<WindowProfile>,
    /// Zone of calendar windows: an IANA name, `UTC` or a POSIX TZ string.
    pub zone: Option<String>,
    pub token_charge: Option<Charge>,
    /// Output tokens reserved when the caller names none.
    pub reserve_default: Option<i64>,
    /// The most output tokens ever reserved.
    pub reserve_cap: Option<i64>,
    /// Each request is counted 0..=N ms after it came.
    pub jitter_ms: Option<u64>,
    /// The provider's clock minus ours.
    pub clock_offset_ms: Option<i64>,
    pub latency: Option<LatencyProfile>,
    pub switches: SwitchesProfile,
    /// Laid over every model, before `models`.
    pub every_model: Option<ModelProfile>,
    pub models: BTreeMap<String, ModelProfile>,
}

/// One model, or what is said of all models.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelProfile {
    pub aliases: Option<Vec<String>>,
    pub status: Option<Status>,
    pub context: Option<i64>,
    pub max_output: Option<i64>,
    /// `tools json vision reasoning`
    pub can: Option<Vec<String>>,
    /// Names of one bucket share their windows; default: the model's own id.
    pub bucket: Option<String>,
    /// Limits per account and model.
    pub limits: Option<LimitsProfile>,
    pub window: Option<WindowProfile>,
    pub latency: Option<LatencyProfile>,
    /// Tokens the provider adds to every prompt.
    pub preamble_tokens: Option<i64>,
}

/// Whether a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Retired,
    /// Needs a plan this account lacks.
    Gated,
}

/// `{ rpm = 30, tpm = "none" }`, or `"none"` for no limit at all.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum LimitsProfile {
    Each(BTreeMap<LimitName, LimitValue>),
    All(NoLimit),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum LimitValue {
    /// 0 = not on this plan.
    Max(i64),
    None(NoLimit),
}

/// The word `none`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoLimit {
    None,
}

/// `"bucket"` for every limit, or a table by limit name.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum WindowProfile {
    All(Kind),
    Each(BTreeMap<LimitName, Kind>),
}

/// How fast answers come.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyProfile {
    /// Until the first token.
    pub first_ms: Option<Spread>,
    /// Between two chunks.
    pub chunk_ms: Option<Spread>,
    /// Output tokens in a chunk.
    pub chunk_tokens: Option<i64>,
    /// Length of an answer when the prompt does not say; unset: as long as its text.
    pub tokens: Option<Spread>,
    /// Reasoning tokens of a model that reasons.
    pub reasoning_tokens: Option<i64>,
}

/// A figure, or where to draw it from.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Spread {
    Fixed(f64),
    /// Uniform.
    Between {
        min: f64,
        max: f64,
    },
    /// Log-normal.
    Skewed {
        median: f64,
        p99: f64,
    },
}

/// The open questions about the providers. What a switch does not concern ignores it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchesProfile {
    /// A 429 counts in the request windows.
    pub refused_count: Option<bool>,
    /// A 5xx (a fault) counts in the request windows, and keeps its tokens.
    pub failed_count: Option<bool>,
    /// Output tokens are reserved for calls without streaming too.
    pub reserve_whole: Option<bool>,
    /// A caller who leaves stops the work, and its cost.
    pub cancel_stops: Option<bool>,
    /// Gemini: errors come as `[{"error":…}]`.
    pub error_array: Option<bool>,
    /// Gemini: a spent day's `retryDelay` names the day's end; else only the next minute.
    pub true_day_delay: Option<bool>,
    /// Gemini: a safety stop comes as `content_filter`; else as `SAFETY`.
    pub safety_mapped: Option<bool>,
    /// Mistral: `stream_options` is accepted.
    pub stream_options: Option<bool>,
    /// Cerebras: errors are wrapped in `error`.
    pub error_wrapped: Option<bool>,
    /// Cerebras: 429 carries `retry-after`.
    pub retry_after: Option<bool>,
    /// Cerebras: no credit, every inference is 402.
    pub payment_required: Option<bool>,
    /// Groq, Cerebras: a missing or a library's user agent is 403.
    pub bot_filter: Option<bool>,
    /// Mistral: 401 in the gateway's shape.
    pub kong_unauthorized: Option<bool>,
    /// Ollama: calls that may wait for a slot before 503.
    pub queue: Option<usize>,
}
