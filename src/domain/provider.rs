//! Who serves and what is served, as the catalogue (and the operator's file over it) describes them.

use std::sync::Arc;

use serde::Deserialize;

use super::window::{TokenCharge, Zone};

/// How a provider key is shown to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Bearer,
    /// Works without a key; one is sent when there is one.
    BearerOptional,
    None,
}

/// `active` · `trial` · `gated` (needs a plan some accounts lack) · `paid` · `retired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Trial,
    Gated,
    Paid,
    Retired,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trial => "trial",
            Self::Gated => "gated",
            Self::Paid => "paid",
            Self::Retired => "retired",
        }
    }
}

#[derive(Debug)]
pub struct Provider {
    /// `groq`, `gemini`, … or the name of a `[providers.NAME]` table.
    pub id: Arc<str>,
    pub name: String,
    pub status: Status,
    /// Without a trailing slash; `/chat/completions` is appended.
    pub base_url: String,
    pub auth: Auth,
    pub signup: Option<String>,
    /// Comes last in meta-models and goes on when the ledger is away, where it has no limits (Ollama).
    pub local: bool,
    pub token_charge: TokenCharge,
    /// Output tokens that the provider reserves when the caller names no maximum.
    pub reserve_default_output: i64,
    /// The provider reserves no more than this, whatever is asked for.
    pub reserve_cap_output: Option<i64>,
    /// Whose midnight ends its calendar days, if it has any.
    pub zone: Option<Arc<Zone>>,
    /// Overrides `timeouts.first_token_ms`: model loading, slow queues.
    pub first_token_timeout_ms: Option<u64>,
    pub wire: Wire,
    /// Set by the file (`enabled = false`); the run-time switch lives in the ledger.
    pub enabled: bool,
}

/// What is odd about a provider's dialect of the OpenAI API, as data.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// Which family of bodies and errors it speaks, where data does not suffice: see `upstream::dialect`.
    pub dialect: DialectName,
    /// `(from, to)`: a top-level parameter that goes by another name.
    pub rename: Vec<(String, String)>,
    /// Paths stripped before sending, harmless to lose: `store`, `messages[].name`,
    /// `tools[].function.strict`, `tools=[]` (only with that value).
    pub drop: Vec<String>,
    /// Parameters it refuses or silently ignores although their loss changes the meaning: `logprobs`, `n>1`, `response_format`, `tool_choice`.
    /// A request that uses one is not sent there.
    pub refuse: Vec<String>,
    pub max_n: Option<u32>,
    pub max_tools: Option<u32>,
    pub max_stop: Option<u32>,
    /// Tool call ids must be exactly nine of `[A-Za-z0-9]`.
    pub short_tool_ids: bool,
    /// Images only as `data:` URLs.
    pub images_inline_only: bool,
    /// `stream_options` is refused or unnecessary: usage comes unasked.
    pub usage_unasked: bool,
    /// Schema keywords stripped from tool parameters on the first 400 about the schema, then sent once more.
    pub schema_sanitise: Vec<String>,
    /// Response headers that speak about windows.
    pub hints: Vec<HintHeader>,
    /// `x-ratelimit…` days are believed only when longer (seconds); Gemini's retryDelay on a spent day.
    pub retry_trusted_over_s: Vec<(super::Limit, i64)>,
    /// Answers a 413 with a rate-limit code when the request alone is larger than the window.
    pub permanent_413: bool,
    /// Prefix of ids in its `/models` (`models/`).
    pub model_list_prefix: String,
}

/// The dialects that need code; every other provider is `Openai` with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DialectName {
    #[default]
    Openai,
    Groq,
    Gemini,
    Cerebras,
    Mistral,
    Ollama,
    Openrouter,
    Cloudflare,
    Zai,
    Nvidia,
    Cohere,
}

/// One response header of a header dialect.
#[derive(Debug, Clone)]
pub struct HintHeader {
    /// Lower case.
    pub name: String,
    /// `None`: `*`, whichever window refused.
    pub limit: Option<super::Limit>,
    pub field: HintField,
    pub value: HintValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintField {
    Limit,
    Remaining,
    /// Time until the window opens again.
    Reset,
    /// Instant at which it opens again.
    ResetAt,
    /// Time until a bucket is full (says nothing about when one request fits).
    UntilFull,
    /// Tokens that this call cost.
    Cost,
    /// Wait before the next try.
    Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintValue {
    Int,
    FloatSeconds,
    /// `2m59.56s`, `922.5ms`
    GoDuration,
    IntSeconds,
    EpochMs,
}

#[derive(Debug)]
pub struct Model {
    /// As the provider knows it: `openai/gpt-oss-120b`.
    pub id: Arc<str>,
    pub aliases: Vec<String>,
    pub status: Status,
    pub retired_on: Option<String>,
    pub successor: Option<String>,
    /// Tokens, prompt and answer together.
    pub context: i64,
    pub max_output: i64,
    pub capabilities: Capabilities,
    pub max_images: Option<u32>,
    /// Empty: any value passes.
    pub reasoning_efforts: Vec<String>,
    /// 0–100; source: `providers.toml`.
    pub quality: u32,
    /// Typical time to the first token, ms: what `fast` goes by until one was measured.
    pub first_token_ms: u32,
    /// Not for general chat (a classifier): only by its own name.
    pub chat_default: bool,
    /// Which endpoint it serves; only `chat` models are routed to chat completions.
    pub endpoint: Endpoint,
    /// A limit of 0 is on it: not on this plan.
    pub zero_limit: bool,
    /// The operator's file names it: it is a member even when gated or on trial.
    pub listed: bool,
    pub enabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Chat,
    Embeddings,
    AudioTranscriptions,
    Other,
}

/// What a model can do, and what a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u16);

impl Capabilities {
    pub const TOOLS: Self = Self(1);
    pub const JSON_SCHEMA: Self = Self(1 << 1);
    pub const JSON_OBJECT: Self = Self(1 << 2);
    pub const VISION: Self = Self(1 << 3);
    /// Images only inline (`data:` URLs).
    pub const VISION_BASE64: Self = Self(1 << 4);
    pub const AUDIO_IN: Self = Self(1 << 5);
    pub const VIDEO_IN: Self = Self(1 << 6);
    pub const PDF_IN: Self = Self(1 << 7);
    pub const REASONING: Self = Self(1 << 8);
    pub const EMBEDDINGS: Self = Self(1 << 9);
    pub const NAMES: [(&'static str, Self); 10] = [
        ("tools", Self::TOOLS),
        ("json_schema", Self::JSON_SCHEMA),
        ("json_object", Self::JSON_OBJECT),
        ("vision", Self::VISION),
        ("vision_base64", Self::VISION_BASE64),
        ("audio_in", Self::AUDIO_IN),
        ("video_in", Self::VIDEO_IN),
        ("pdf_in", Self::PDF_IN),
        ("reasoning", Self::REASONING),
        ("embeddings", Self::EMBEDDINGS),
    ];

    pub fn has(self, all: Self) -> bool {
        self.0 & all.0 == all.0
    }

    #[must_use]
    pub fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(_, c)| self.has(*c)).map(|(n, _)| *n).collect()
    }
}
