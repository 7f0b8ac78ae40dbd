//! The table of a provider, in the built-in catalogue and under `[providers.NAME]` of the operator's file. Everything is
//! optional, because the file is merged over the catalogue name by name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::value;
use crate::domain::{
    Capabilities, Guard, Limit, ModelKind, NewModels, TokenCharge, WindowKind, Zone,
    provider::{Auth, DialectName, Status},
    time::HOUR_MS,
};

/// Lua counts in doubles, so every limit stays far below 2^53.
const MAX_LIMIT: i64 = 1_000_000_000_000_000;
const MAX_TOKENS: i64 = 1_000_000_000;
const MAX_DIMENSIONS: i64 = 65_536;
/// OpenAI's maximum.
const MAX_INPUTS: i64 = 2_048;

/// `[providers.NAME]`. Names are documented in `tollfree.example.toml` and at the head of the built-in catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderTable {
    pub name: Option<String>,
    pub status: Option<Status>,
    pub base_url: Option<String>,
    /// Placeholder in `base_url` → variable that fills it.
    pub base_url_vars: BTreeMap<String, String>,
    /// Variables of the keys. The first one that is set counts.
    pub key_env: Vec<String>,
    pub auth: Option<Auth>,
    pub signup: Option<String>,
    pub local: Option<bool>,
    pub enabled: Option<bool>,
    /// Account name → 1-based positions in the list of keys.
    pub accounts: BTreeMap<String, Vec<usize>>,

    /// Of an account, over all its models.
    pub limits: Limits,
    /// Of an account and model, unless the model's own table has others.
    pub model_limits: Limits,
    /// In place of `limits` while it is called without a key.
    pub keyless_limits: Limits,
    /// In place of `model_limits` while it is called without a key.
    pub keyless_model_limits: Limits,
    pub window: Option<WindowKindSetting>,
    pub daily_reset: Option<DailyReset>,
    pub token_charge: Option<TokenCharge>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, MAX_TOKENS>")]
    pub reserve_default_output: Option<i64>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, MAX_TOKENS>")]
    pub reserve_cap_output: Option<i64>,
    pub confidence: Option<Confidence>,

    /// Overrides `timeouts.first_token_ms`.
    #[serde(alias = "first_content_ms", deserialize_with = "value::optional_whole::<_, _, 1, HOUR_MS>")]
    pub first_token_timeout_ms: Option<u64>,
    /// A typical time until the first token.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, HOUR_MS>")]
    pub first_token_ms: Option<i64>,

    pub dialect: Option<DialectName>,
    /// Name of a `[header_dialect.NAME]` of the catalogue.
    pub headers: Option<String>,
    pub rename: Option<BTreeMap<String, String>>,
    pub drop: Option<Vec<String>>,
    pub refuse: Option<Vec<String>>,
    /// Parameters that only clients with permission may use, because they cost money.
    pub paid: Option<Vec<String>>,
    /// Whether URLs of images may lead to private addresses.
    pub private_urls: Option<bool>,
    /// Fields that the provider takes, by the path of their object.
    pub allowed_fields: Option<IndexMap<String, Vec<String>>>,
    pub text_content_roles: Option<Vec<String>>,
    pub max_n: Option<u32>,
    pub max_tools: Option<u32>,
    pub max_stop: Option<u32>,
    pub short_tool_ids: Option<bool>,
    pub images_inline_only: Option<bool>,
    pub usage_unasked: Option<bool>,
    pub schema_sanitise: Option<Vec<String>>,
    pub retry_trusted_over_s: Option<BTreeMap<Limit, i64>>,
    pub permanent_413: Option<bool>,
    pub model_list_prefix: Option<String>,
    /// Whether its completions endpoint takes prompts.
    pub completions: Option<bool>,
    /// Models of its list that are served although they stand in no table.
    pub new_models: Option<NewModels>,
    /// Patterns of the ids of models in its list that cost money, whatever `new_models` says.
    pub paid_models: Option<Vec<String>>,
    /// Where it reports how much of an account's allowance of the month is used, from `base_url`.
    pub usage_path: Option<String>,
    /// What shows whether a key is right, from `base_url`, where the list of models does not.
    pub key_test_path: Option<String>,
    /// The model that is sent one short request for the same.
    pub key_test_model: Option<String>,
    /// A refusal for want of money lasts until the first of the next month.
    pub monthly_credit: Option<bool>,

    /// For models without a table of their own.
    pub model_defaults: ModelTable,
    pub models: IndexMap<String, ModelTable>,
}

/// `[providers.NAME.models."id"]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelTable {
    pub aliases: Vec<String>,
    pub status: Option<Status>,
    pub retired_on: Option<String>,
    /// An id of the same provider.
    pub successor: Option<String>,
    /// What the model is for.
    #[serde(alias = "endpoint")]
    pub kind: Option<ModelKind>,
    /// Address of its endpoint where that is not below `base_url`.
    pub url: Option<String>,
    /// Parameters to send where the client sets none.
    pub default_parameters: BTreeMap<String, serde_json::Value>,
    /// Embedding models of one family compute the same vectors.
    pub family: Option<String>,
    /// Length of a vector.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, MAX_DIMENSIONS>")]
    pub dimensions: Option<u32>,
    /// Vectors can have any length from here on.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, MAX_DIMENSIONS>")]
    pub min_dimensions: Option<u32>,
    /// Seconds of sound that every call is charged at least.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, 3_600>")]
    pub min_audio_seconds: Option<i64>,
    /// Size of the largest recording.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, MAX_TOKENS>")]
    pub max_file_bytes: Option<u64>,
    /// Whether transcripts can have times.
    pub states_times: Option<bool>,
    /// Whether transcripts can come in pieces.
    pub streams_transcripts: Option<bool>,
    /// How a chat model moderates texts.
    pub guard: Option<Guard>,
    /// Texts that one call takes.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, MAX_INPUTS>")]
    pub max_inputs: Option<u32>,
    /// Tokens that one call takes in all its texts.
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, MAX_TOKENS>")]
    pub max_batch_tokens: Option<i64>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, MAX_TOKENS>")]
    pub context: Option<i64>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, MAX_TOKENS>")]
    pub max_output: Option<i64>,
    #[serde(deserialize_with = "capabilities")]
    pub capabilities: Option<Capabilities>,
    pub max_images: Option<u32>,
    pub reasoning_efforts: Option<Vec<String>>,
    /// Of an account and model.
    pub limits: Limits,
    pub window: Option<WindowKindSetting>,
    pub daily_reset: Option<DailyReset>,
    pub token_charge: Option<TokenCharge>,
    /// Of the limits.
    pub confidence: Option<Confidence>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 0, 100>")]
    pub quality: Option<u32>,
    pub speed: Option<u32>,
    #[serde(deserialize_with = "value::optional_whole::<_, _, 1, HOUR_MS>")]
    pub first_token_ms: Option<i64>,
    pub chat_default: Option<bool>,
    pub enabled: Option<bool>,
}

/// How certain a figure of the catalogue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Documented by the provider.
    Documented,
    /// Seen in a response, a header or a report.
    Observed,
    Inferred,
    /// Unknown, or sources contradict each other.
    Uncertain,
}

impl Confidence {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Observed => "observed",
            Self::Inferred => "inferred",
            Self::Uncertain => "uncertain",
        }
    }
}

pub type Limits = BTreeMap<Limit, LimitValue>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    /// 0: not on this plan.
    Max(i64),
    /// Removes a limit of the catalogue.
    Removed,
}

impl<'de> Deserialize<'de> for LimitValue {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = LimitValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 (not on this plan), or \"none\" to remove the limit")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<LimitValue, E> {
                if (0..=MAX_LIMIT).contains(&n) {
                    return Ok(LimitValue::Max(n));
                }
                Err(E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LimitValue, E> {
                if text == "none" {
                    return Ok(LimitValue::Removed);
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        input.deserialize_any(Reader)
    }
}

/// `window`: one kind for all limits, or a kind by limit.
#[derive(Debug, Clone)]
pub enum WindowKindSetting {
    All(WindowKindName),
    PerLimit(BTreeMap<Limit, WindowKindName>),
}

/// The kinds that can be set. A calendar window is set by `daily_reset` instead.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKindName {
    /// Also what the catalogue's `clock` and `unknown` run as: lawful under both.
    #[serde(alias = "clock", alias = "unknown")]
    Sliding,
    Bucket,
}

impl WindowKindSetting {
    pub fn for_limit(&self, limit: Limit) -> Option<WindowKind> {
        let name = match self {
            Self::All(name) => Some(name),
            Self::PerLimit(names) => names.get(&limit),
        };
        name.map(|name| match name {
            WindowKindName::Sliding => WindowKind::Sliding,
            WindowKindName::Bucket => WindowKind::Bucket,
        })
    }
}

impl<'de> Deserialize<'de> for WindowKindSetting {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = WindowKindSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"sliding\", \"bucket\", or a table of these by limit name")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WindowKindSetting, E> {
                WindowKindName::deserialize(text.into_deserializer()).map(WindowKindSetting::All)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WindowKindSetting, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(WindowKindSetting::PerLimit)
            }
        }
        input.deserialize_any(Reader)
    }
}

/// When days and months end.
#[derive(Debug, Clone)]
pub enum DailyReset {
    /// They do not end: the kind of the window applies.
    Rolling,
    At(Arc<Zone>),
}

impl<'de> Deserialize<'de> for DailyReset {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        if name == "rolling" {
            return Ok(Self::Rolling);
        }
        let zone = Zone::parse(&name).map_err(|error| de::Error::custom(format!("{error}, nor \"rolling\"")))?;
        Ok(Self::At(Arc::new(zone)))
    }
}

fn capabilities<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Capabilities>, D::Error> {
    let mut all = Capabilities::default();
    for name in Vec::<String>::deserialize(input)? {
        let known = Capabilities::NAMES.iter().find(|(known, _)| *known == name);
        let (_, capability) = known.ok_or_else(|| {
            let names = Capabilities::NAMES.map(|(name, _)| format!("`{name}`"));
            de::Error::custom(format!("expected one of {}, got `{name}`", names.join(", ")))
        })?;
        all = all.with(*capability);
    }
    Ok(Some(all))
}
