//! One shape for a provider, whether it stands in the built-in catalogue or under `[providers.NAME]` of the operator's file.
//!
//! Everything is optional, because the file is laid over the catalogue name by name.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::words::{self, Confidence};
use crate::domain::{
    Limit, TokenCharge, WindowKind, Zone,
    provider::{Auth, DialectName, Endpoint, Status},
};

/// `[providers.NAME]`. Names are documented in `tollfree.example.toml` and at the head of the built-in catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderTable {
    pub name: Option<String>,
    #[serde(deserialize_with = "words::status")]
    pub status: Option<Status>,
    pub base_url: Option<String>,
    /// Placeholder in `base_url` → variable that fills it.
    pub base_url_vars: BTreeMap<String, String>,
    /// Variables that hold the keys; the first one that is set counts.
    pub key_env: Vec<String>,
    #[serde(deserialize_with = "words::auth")]
    pub auth: Option<Auth>,
    pub signup: Option<String>,
    pub local: Option<bool>,
    pub enabled: Option<bool>,
    /// Account name → 1-based positions in the list of keys.
    pub accounts: BTreeMap<String, Vec<usize>>,

    /// Per account, over all its models.
    pub limits: Limits,
    /// Per account and model, where the model's own table does not say otherwise.
    pub model_limits: Limits,
    pub window: Option<WindowKindSetting>,
    pub daily_reset: Option<DailyReset>,
    #[serde(deserialize_with = "words::token_charge")]
    pub token_charge: Option<TokenCharge>,
    #[serde(deserialize_with = "words::tokens")]
    pub reserve_default_output: Option<i64>,
    #[serde(deserialize_with = "words::tokens")]
    pub reserve_cap_output: Option<i64>,
    #[serde(deserialize_with = "words::mark")]
    pub mark: Option<Confidence>,

    #[serde(deserialize_with = "words::ms")]
    pub first_content_ms: Option<i64>,
    #[serde(deserialize_with = "words::ms")]
    pub first_token_ms: Option<i64>,

    #[serde(deserialize_with = "words::dialect")]
    pub dialect: Option<DialectName>,
    /// Name of a `[header_dialect.NAME]` of the catalogue.
    pub headers: Option<String>,
    pub rename: Option<BTreeMap<String, String>>,
    pub drop: Option<Vec<String>>,
    pub refuse: Option<Vec<String>>,
    pub max_n: Option<u32>,
    pub max_tools: Option<u32>,
    pub max_stop: Option<u32>,
    pub short_tool_ids: Option<bool>,
    pub images_inline_only: Option<bool>,
    pub usage_unasked: Option<bool>,
    pub schema_sanitise: Option<Vec<String>>,
    pub retry_trusted_over_s: Option<PerLimit<i64>>,
    pub permanent_413: Option<bool>,
    pub model_list_prefix: Option<String>,

    /// What holds for a model that nobody described.
    pub model_defaults: ModelTable,
    pub models: IndexMap<String, ModelTable>,
}

/// `[providers.NAME.models."id"]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelTable {
    pub aliases: Vec<String>,
    #[serde(deserialize_with = "words::status")]
    pub status: Option<Status>,
    pub retired_on: Option<String>,
    /// An id of the same provider.
    pub successor: Option<String>,
    #[serde(deserialize_with = "words::endpoint")]
    pub endpoint: Option<Endpoint>,
    #[serde(deserialize_with = "words::tokens")]
    pub context: Option<i64>,
    #[serde(deserialize_with = "words::tokens")]
    pub max_output: Option<i64>,
    #[serde(deserialize_with = "words::capabilities")]
    pub capabilities: Option<crate::domain::Capabilities>,
    pub max_images: Option<u32>,
    pub reasoning_efforts: Option<Vec<String>>,
    /// Per account and model.
    pub limits: Limits,
    pub window: Option<WindowKindSetting>,
    pub daily_reset: Option<DailyReset>,
    #[serde(deserialize_with = "words::token_charge")]
    pub token_charge: Option<TokenCharge>,
    /// How surely the limits are known.
    #[serde(deserialize_with = "words::mark")]
    pub mark: Option<Confidence>,
    #[serde(deserialize_with = "words::percent")]
    pub quality: Option<u32>,
    #[serde(deserialize_with = "words::mark")]
    pub quality_mark: Option<Confidence>,
    pub speed: Option<u32>,
    #[serde(deserialize_with = "words::ms")]
    pub first_token_ms: Option<i64>,
    pub chat_default: Option<bool>,
    pub enabled: Option<bool>,
}

/// A figure, 0 ("not on this plan"), or `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    Max(i64),
    /// Takes a limit of the catalogue away.
    Removed,
}

/// Limits by name.
pub type Limits = PerLimit<LimitValue>;

impl<'de> Deserialize<'de> for LimitValue {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = LimitValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 (not on this plan), or \"none\" to remove the limit")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<LimitValue, E> {
                if (0..=words::LARGEST).contains(&n) {
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

/// A table whose keys are limit names.
#[derive(Debug, Clone)]
pub struct PerLimit<T>(pub BTreeMap<Limit, T>);

impl<T> Default for PerLimit<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerLimit<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = PerLimit<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table by limit name such as { rpm = 30, tpd = 200000 }")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PerLimit<T>, A::Error> {
                let mut read = BTreeMap::new();
                while let Some(LimitName(limit)) = map.next_key()? {
                    read.insert(limit, map.next_value()?);
                }
                Ok(PerLimit(read))
            }
        }
        input.deserialize_map(Reader(PhantomData))
    }
}

/// A key that must be a limit's name, so that a wrong one is reported at its own place.
struct LimitName(Limit);

impl<'de> Deserialize<'de> for LimitName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        const NAMES: [&str; 12] =
            ["rps", "rpm", "rph", "rpd", "rpmonth", "tps", "tpm", "tph", "tpd", "tpmonth", "itpm", "concurrency"];
        let name = String::deserialize(input)?;
        name.parse().map(Self).map_err(|()| de::Error::unknown_field(&name, &NAMES))
    }
}

/// How windows forget: one kind for all, or by limit name.
#[derive(Debug, Clone)]
pub enum WindowKindSetting {
    All(WindowKind),
    By(BTreeMap<Limit, WindowKind>),
}

impl WindowKindSetting {
    pub fn for_limit(&self, limit: Limit) -> Option<WindowKind> {
        match self {
            Self::All(kind) => Some(*kind),
            Self::By(kinds) => kinds.get(&limit).copied(),
        }
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
                words::kind(text).map(WindowKindSetting::All).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WindowKindSetting, A::Error> {
                let named = PerLimit::<KindName>::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(WindowKindSetting::By(named.0.into_iter().map(|(limit, KindName(kind))| (limit, kind)).collect()))
            }
        }
        input.deserialize_any(Reader)
    }
}

struct KindName(WindowKind);

impl<'de> Deserialize<'de> for KindName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        words::kind(&String::deserialize(input)?).map(Self).map_err(de::Error::custom)
    }
}

/// When days (and months) end.
#[derive(Debug, Clone)]
pub enum DailyReset {
    /// They do not: the window's kind says how it forgets.
    Rolling,
    At(Arc<Zone>),
}

impl<'de> Deserialize<'de> for DailyReset {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        if name == "rolling" {
            return Ok(Self::Rolling);
        }
        let zone = Zone::parse(&name).map_err(|why| de::Error::custom(format!("{why}, nor \"rolling\"")))?;
        Ok(Self::At(Arc::new(zone)))
    }
}
