//! The closed vocabularies and ranges of a provider's table, read with an error that lists what was expected.

use serde::{Deserialize, Deserializer, de::Error};

use crate::domain::{
    Capabilities, TokenCharge, WindowKind,
    provider::{Auth, DialectName, Endpoint, Status},
};

/// Lua counts in doubles: everything stays far below 2^53.
pub const LARGEST: i64 = 1_000_000_000_000_000;

/// How surely a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    Documented,
    Observed,
    Inferred,
    Uncertain,
}

impl Confidence {
    const NAMES: [(&str, Self); 4] =
        [("D", Self::Documented), ("O", Self::Observed), ("I", Self::Inferred), ("U", Self::Uncertain)];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Observed => "observed",
            Self::Inferred => "inferred",
            Self::Uncertain => "uncertain",
        }
    }
}

const STATUS: [(&str, Status); 5] = [
    ("active", Status::Active),
    ("trial", Status::Trial),
    ("gated", Status::Gated),
    ("paid", Status::Paid),
    ("retired", Status::Retired),
];
const AUTH: [(&str, Auth); 3] =
    [("bearer", Auth::Bearer), ("bearer_optional", Auth::BearerOptional), ("none", Auth::None)];
/// `opaque`: a cost that no header or usage tells beforehand; learned from refusals.
const CHARGE: [(&str, TokenCharge); 5] = [
    ("reserve", TokenCharge::Reserve),
    ("actual", TokenCharge::Actual),
    ("input", TokenCharge::Input),
    ("none", TokenCharge::None),
    ("opaque", TokenCharge::None),
];
/// `clock` and `unknown` run as sliding, which is lawful under both.
const KIND: [(&str, WindowKind); 4] = [
    ("sliding", WindowKind::Sliding),
    ("bucket", WindowKind::Bucket),
    ("clock", WindowKind::Sliding),
    ("unknown", WindowKind::Sliding),
];
const DIALECT: [(&str, DialectName); 11] = [
    ("openai", DialectName::Openai),
    ("groq", DialectName::Groq),
    ("gemini", DialectName::Gemini),
    ("cerebras", DialectName::Cerebras),
    ("mistral", DialectName::Mistral),
    ("ollama", DialectName::Ollama),
    ("openrouter", DialectName::Openrouter),
    ("cloudflare", DialectName::Cloudflare),
    ("zai", DialectName::Zai),
    ("nvidia", DialectName::Nvidia),
    ("cohere", DialectName::Cohere),
];
const ENDPOINT: [(&str, Endpoint); 4] = [
    ("chat", Endpoint::Chat),
    ("embeddings", Endpoint::Embeddings),
    ("audio_transcriptions", Endpoint::AudioTranscriptions),
    ("other", Endpoint::Other),
];

/// Finds a word in its list; the error lists the list.
pub fn one_of<T: Copy>(word: &str, list: &[(&str, T)]) -> Result<T, String> {
    let found = list.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<String> = list.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("\"{word}\" is not one of {}", names.join(", "))
    })
}

fn read<'de, D: Deserializer<'de>, T: Copy>(input: D, list: &[(&str, T)]) -> Result<Option<T>, D::Error> {
    one_of(&String::deserialize(input)?, list).map(Some).map_err(D::Error::custom)
}

pub fn status<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Status>, D::Error> {
    read(input, &STATUS)
}

pub fn auth<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Auth>, D::Error> {
    read(input, &AUTH)
}

pub fn token_charge<'de, D: Deserializer<'de>>(input: D) -> Result<Option<TokenCharge>, D::Error> {
    read(input, &CHARGE)
}

pub fn dialect<'de, D: Deserializer<'de>>(input: D) -> Result<Option<DialectName>, D::Error> {
    read(input, &DIALECT)
}

pub fn endpoint<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Endpoint>, D::Error> {
    read(input, &ENDPOINT)
}

pub fn mark<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Confidence>, D::Error> {
    read(input, &Confidence::NAMES)
}

/// Calendar days are not a kind here: `daily_reset` says whose midnight.
pub fn kind(word: &str) -> Result<WindowKind, String> {
    if word == "calendar" {
        return Err("a calendar window is asked for by `daily_reset = \"ZONE\"`".into());
    }
    one_of(word, &KIND)
}

pub fn capabilities<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Capabilities>, D::Error> {
    let mut all = Capabilities::default();
    for word in Vec::<String>::deserialize(input)? {
        all = all.with(one_of(&word, &Capabilities::NAMES).map_err(D::Error::custom)?);
    }
    Ok(Some(all))
}

fn ranged<'de, D: Deserializer<'de>>(input: D, least: i64, most: i64, unit: &str) -> Result<Option<i64>, D::Error> {
    let n = i64::deserialize(input)?;
    if (least..=most).contains(&n) {
        return Ok(Some(n));
    }
    Err(D::Error::custom(format!("{n} is out of range: expected {unit} from {least} to {most}")))
}

pub fn tokens<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    ranged(input, 0, 1_000_000_000, "a number of tokens")
}

pub fn ms<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    ranged(input, 1, 3_600_000, "milliseconds")
}

pub fn percent<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    Ok(ranged(input, 0, 100, "a rank")?.and_then(|n| u32::try_from(n).ok()))
}
