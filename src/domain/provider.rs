//! Providers and models, as the catalogue and the operator's file describe them.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    guard::Guard,
    model_kind::ModelKind,
    vectors::Vectors,
    window::{Scope, TokenCharge, Zone},
};

/// How a provider key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Bearer,
    /// A key is sent if there is one.
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
    /// Comes last in meta-models, and is served while the ledger is unreachable if it has no limits (Ollama).
    pub local: bool,
    pub token_charge: TokenCharge,
    /// Output tokens that the provider reserves if the caller sets no limit.
    pub reserve_default_output: i64,
    /// Maximum output tokens that the provider reserves.
    pub reserve_cap_output: Option<i64>,
    /// Time zone of its calendar windows, if it has any.
    pub zone: Option<Arc<Zone>>,
    /// Overrides `timeouts.first_token_ms`, for model loading and slow queues.
    pub first_token_timeout_ms: Option<u64>,
    pub wire: Wire,
    /// Defined by the operator's file only.
    pub custom: bool,
    /// It is called without a key, because the operator has switched that on and it has none.
    pub keyless: bool,
    /// Set in the file (`enabled = false`). Disabling at run time is in the ledger.
    pub enabled: bool,
}

/// Differences of a provider's dialect of the OpenAI API, as data.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// Dialect whose bodies and errors need code: see `upstream::dialect`.
    pub dialect: DialectName,
    /// `(from, to)`: top-level parameters with another name.
    pub rename: Vec<(String, String)>,
    /// Paths that are removed before sending, which is harmless: `store`, `messages[].name`,
    /// `tools[].function.strict`, `tools=[]` (only with that value).
    pub drop: Vec<String>,
    /// The fields that a provider with a closed schema takes, by the path of their object: `""`, `messages[]:user` (messages of one
    /// role), `tools[].function`. Objects that are not listed may have any field.
    pub allowed_fields: Vec<(String, Vec<String>)>,
    /// Roles whose content must be a string.
    pub text_content_roles: Vec<String>,
    /// Parameters that the provider rejects or ignores although they matter: `logprobs`, `n>1`, `response_format`,
    /// `tool_choice`. A request that uses one is not sent there.
    pub refuse: Vec<String>,
    /// Parameters that cost money there, or choose another model than the request's: `models`, `plugins`, and `tools=built_in` for
    /// tools that the provider runs. Only clients with permission may use them.
    pub paid: Vec<String>,
    /// URLs of images and files may lead to private addresses. An operator's own server could reach its own network by them.
    pub private_urls: bool,
    pub max_n: Option<u32>,
    pub max_tools: Option<u32>,
    pub max_stop: Option<u32>,
    /// Tool call ids must be exactly nine of `[A-Za-z0-9]`.
    pub short_tool_ids: bool,
    /// Images only as `data:` URLs.
    pub images_inline_only: bool,
    /// Streams always contain usage; `stream_options` is rejected or unnecessary.
    pub usage_unasked: bool,
    /// Schema keywords that are removed from tool parameters for one retry after a 400 about the schema.
    pub schema_sanitise: Vec<String>,
    /// Response headers that report the state of windows.
    pub hints: Vec<HintHeader>,
    /// Retry times of these limits are trusted only above this number of seconds. (Gemini's `retryDelay` for an exhausted
    /// day is usually that of the minute.)
    pub retry_trusted_over_s: Vec<(super::Limit, i64)>,
    /// A 413 with a rate-limit code means that the request alone exceeds the window.
    pub permanent_413: bool,
    /// Prefix of the ids in its model list (`models/`).
    pub model_list_prefix: String,
    /// Where it reports how much of an account's allowance is used, from the base URL: `../api/usage`.
    pub usage_path: Option<String>,
    /// What shows whether a key is right, from the base URL, where the list of models does not: `key`.
    pub key_test_path: Option<String>,
    /// A free model that is sent one short request for the same, where there is no such path.
    pub key_test_model: Option<String>,
    /// A refusal for want of money lasts until the first of the next month (UTC).
    pub monthly_credit: bool,
    /// Prompts for completions go to an endpoint of their own, and not to the chat endpoint.
    pub completions: bool,
}

impl Wire {
    /// The names that the provider takes in the object at a path, or `None` where it takes any. `role`: of the message at
    /// the path, or empty.
    pub(crate) fn allowed(&self, path: &str, role: &str) -> Option<&[String]> {
        let mut listed = self.allowed_fields.iter().filter(|(listed, _)| {
            let rest = listed.strip_prefix(path);
            rest == Some("") || !role.is_empty() && rest.and_then(|rest| rest.strip_prefix(':')) == Some(role)
        });
        listed.next().map(|(_, names)| names.as_slice())
    }

    /// The provider's name of a top-level parameter.
    pub(crate) fn renamed<'w>(&'w self, parameter: &'w str) -> &'w str {
        self.rename.iter().find(|(from, _)| from == parameter).map_or(parameter, |(_, to)| to)
    }
}

/// Dialects that need code. Every other provider is `Openai` with data.
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

/// One response header that reports the state of a window.
#[derive(Debug, Clone)]
pub struct HintHeader {
    /// Lower case.
    pub name: String,
    /// `None`: the window that was exceeded.
    pub limit: Option<super::Limit>,
    /// What the limit counts.
    pub scope: Scope,
    pub field: HintField,
    pub value: HintValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintField {
    Limit,
    Remaining,
    /// Time until the window reopens.
    Reset,
    /// Instant at which the window reopens.
    ResetAt,
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

impl Model {
    /// What a request may need of it: where it is not known what it can do, its server decides about each request.
    pub fn may_do(&self) -> Capabilities {
        if self.capabilities_assumed { Capabilities::ALL } else { self.capabilities }
    }

    /// Units of windows of sound that a recording of this length takes.
    pub fn audio_units(&self, seconds: f64) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "saturates; no recording lasts 2^53 seconds")]
        let whole = seconds.ceil() as i64;
        whole.max(self.min_audio_seconds).max(1)
    }
}

#[derive(Debug)]
pub struct Model {
    /// The provider's id: `openai/gpt-oss-120b`.
    pub id: Arc<str>,
    pub aliases: Vec<String>,
    pub status: Status,
    pub retired_on: Option<String>,
    pub successor: Option<String>,
    /// Context length in tokens, prompt and output together.
    pub context: i64,
    /// `context` is a default that neither the catalogue, nor the operator, nor the server states.
    pub context_assumed: bool,
    pub max_output: i64,
    pub capabilities: Capabilities,
    /// Neither the catalogue, nor the operator, nor the server states what the model can do: a request that needs more than
    /// `capabilities` may still succeed.
    pub capabilities_assumed: bool,
    pub max_images: Option<u32>,
    /// Empty: all values are accepted.
    pub reasoning_efforts: Vec<String>,
    /// 0–100; source: `providers.toml`.
    pub quality: u32,
    /// Typical time to the first token, which `fast` uses before the first measurement.
    pub first_token_ms: u32,
    /// False for models that are not for general chat, such as classifiers. They are served only by their own name.
    pub chat_default: bool,
    pub kind: ModelKind,
    /// It moderates texts through chats.
    pub guard: Option<Guard>,
    /// Of an embedding model.
    pub vectors: Option<Vectors>,
    /// Address of its endpoint where that is not below the provider's base URL; a path counts from the root of its host.
    pub url: Option<String>,
    /// Seconds of sound that every call is charged at least.
    pub min_audio_seconds: i64,
    /// Size of the largest recording.
    pub max_file_bytes: Option<u64>,
    /// Transcripts can have times (`verbose_json`).
    pub states_times: bool,
    /// Transcripts can come in pieces.
    pub streams_transcripts: bool,
    /// Parameters that the provider needs and a client may leave out, each with its value as JSON.
    pub default_parameters: Vec<(String, String)>,
    /// Was found in the provider's list, and has answered no request yet.
    pub is_unproven: bool,
    /// Has a limit of 0, so that the account's plan does not include it.
    pub zero_limit: bool,
    /// The operator's file names it. Such a model is a member of meta-models even if gated or on trial.
    pub listed: bool,
    pub enabled: bool,
}

/// Capabilities of a model, or needs of a request.
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
    /// Fills in what stands between a prompt and a suffix.
    pub const FIM: Self = Self(1 << 10);
    /// Writes down in English what is said in another language.
    pub const TRANSLATE: Self = Self(1 << 11);
    pub const ALL: Self = Self((1 << 12) - 1);
    pub const NAMES: [(&'static str, Self); 12] = [
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
        ("fim", Self::FIM),
        ("translate", Self::TRANSLATE),
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
