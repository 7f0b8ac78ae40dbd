//! The settings of the simulated providers: a merged profile, with the default of every field that is absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::accounting::limit::{LimitName, TokenCharge, WindowKind};

/// All providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Seed of jitter and latency.
    #[serde(default = "one")]
    pub seed: u64,
    /// False audits limits without refusing a request.
    #[serde(default = "yes")]
    pub enforce: bool,
    /// Calls kept for `/_audit/log`, the oldest dropped first; 0 keeps none.
    #[serde(default)]
    pub log: usize,
    pub providers: BTreeMap<String, ProviderSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProviderSettings {
    pub name: Option<String>,
    /// The keys of each account. A provider without accounts takes any key or none.
    pub accounts: BTreeMap<String, Vec<String>>,
    /// Limits of an account over all its models.
    #[serde(deserialize_with = "limits")]
    pub limits: BTreeMap<LimitName, i64>,
    pub window: BTreeMap<LimitName, WindowKind>,
    /// Zone of calendar windows: an IANA name, `UTC` or a POSIX TZ string.
    pub zone: Option<String>,
    pub token_charge: TokenCharge,
    /// Output tokens reserved when the request names none.
    pub reserve_default: i64,
    /// The most output tokens ever reserved.
    pub reserve_cap: i64,
    /// Each request is counted 0..=N ms after its arrival.
    pub jitter_ms: u64,
    /// The provider's clock minus ours.
    pub clock_offset_ms: i64,
    pub switches: Switches,
    pub models: BTreeMap<String, ModelSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelSettings {
    pub aliases: Vec<String>,
    pub status: Status,
    pub context: i64,
    pub max_output: i64,
    pub can: Vec<Ability>,
    /// Models of one bucket share their windows; the default is the model's own id.
    pub bucket: Option<String>,
    /// Limits per account and model. 0 means that the model is not on the plan.
    #[serde(deserialize_with = "limits")]
    pub limits: BTreeMap<LimitName, i64>,
    pub window: BTreeMap<LimitName, WindowKind>,
    pub latency: Latency,
    /// Tokens that the provider adds to every prompt.
    pub preamble_tokens: i64,
    /// Of an embedding model.
    pub vectors: Option<VectorSettings>,
    /// Seconds that the provider finds in a recording for each second that its header states.
    pub seconds_found: f64,
}

/// The vectors of an embedding model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorSettings {
    pub dimensions: i64,
    /// Vectors can have any length from here on.
    pub min_dimensions: Option<i64>,
    /// Texts in one call.
    pub max_inputs: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ability {
    Tools,
    Json,
    Vision,
    Reasoning,
    Fim,
    /// Moderates, and does not chat.
    Moderate,
    /// Transcribes recordings, and does not chat.
    Transcribe,
    /// Ranks documents, and does not chat.
    Rerank,
    /// Classifies texts by a policy in its prompt.
    Guard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Active,
    Retired,
    /// Needs a plan that the account lacks.
    Gated,
}

/// How fast responses come.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Latency {
    /// Until the first token.
    pub first_ms: Spread,
    /// Between two chunks.
    pub chunk_ms: Spread,
    /// Output tokens in a chunk.
    pub chunk_tokens: i64,
    /// Length of a response when the prompt does not set one; the default is the length of its text.
    pub tokens: Option<Spread>,
    /// Reasoning tokens of a model that reasons.
    pub reasoning_tokens: i64,
}

/// A figure, or the distribution to draw it from.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Spread {
    Fixed(f64),
    Uniform { min: f64, max: f64 },
    LogNormal { median: f64, p99: f64 },
}

/// Open questions about the providers. A switch does not affect other providers than those it names.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Switches {
    /// A 429 counts in the request windows.
    pub refused_count: bool,
    /// A 5xx fault counts in the request windows and keeps its tokens.
    pub failed_count: bool,
    /// Output tokens are reserved for calls without streaming, too.
    pub reserve_whole: bool,
    /// A client that leaves stops the work and its cost.
    pub cancel_stops: bool,
    /// Gemini: errors come as `[{"error":…}]`.
    pub error_array: bool,
    /// Gemini: `retryDelay` of an exhausted day is the end of the day; otherwise the next minute.
    pub true_day_delay: bool,
    /// Gemini: a safety stop comes as `content_filter`; otherwise as `SAFETY`.
    pub safety_mapped: bool,
    /// Mistral: `stream_options` is accepted.
    pub stream_options: bool,
    /// Cerebras: errors are wrapped in `error`.
    pub error_wrapped: bool,
    /// Cerebras: a 429 carries `retry-after`.
    pub retry_after: bool,
    /// Cerebras: without credit every inference is a 402.
    pub payment_required: bool,
    /// Groq, Cerebras: a missing user agent, or one of an HTTP library, is a 403.
    pub bot_filter: bool,
    /// Mistral: a 401 has the form of its gateway.
    pub kong_unauthorized: bool,
    /// Ollama: calls that may wait for a slot before a 503.
    pub queue: usize,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            name: None,
            accounts: BTreeMap::new(),
            limits: BTreeMap::new(),
            window: BTreeMap::new(),
            zone: None,
            token_charge: TokenCharge::None,
            reserve_default: 0,
            reserve_cap: i64::MAX,
            jitter_ms: 0,
            clock_offset_ms: 0,
            switches: Switches::default(),
            models: BTreeMap::new(),
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            aliases: Vec::new(),
            status: Status::Active,
            context: 32_768,
            max_output: 32_768,
            can: Vec::new(),
            bucket: None,
            limits: BTreeMap::new(),
            window: BTreeMap::new(),
            latency: Latency::default(),
            preamble_tokens: 0,
            vectors: None,
            seconds_found: 1.0,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        let none = Spread::Fixed(0.0);
        Self { first_ms: none, chunk_ms: none, chunk_tokens: 8, tokens: None, reasoning_tokens: 0 }
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            refused_count: false,
            failed_count: true,
            reserve_whole: true,
            cancel_stops: true,
            error_array: true,
            true_day_delay: true,
            safety_mapped: true,
            stream_options: false,
            error_wrapped: false,
            retry_after: true,
            payment_required: false,
            bot_filter: false,
            kong_unauthorized: false,
            queue: 0,
        }
    }
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// `{ rpm = 30, tpm = "none" }`, or `"none"` for no limit at all.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<LimitName, i64>, D::Error> {
    let mut value = Value::deserialize(deserializer)?;
    if value == "none" {
        return Ok(BTreeMap::new());
    }
    if let Some(limits) = value.as_object_mut() {
        limits.retain(|_, limit| *limit != "none");
    }
    serde_json::from_value(value).map_err(D::Error::custom)
}
