//! The built-in catalogue, read once. It is compiled into the program, so a mistake in it fails a test and never a start. A
//! fetched one may lie over it.

use std::{collections::BTreeMap, sync::LazyLock};

use indexmap::IndexMap;
use parking_lot::RwLock;
use serde::{Deserialize, Deserializer, de::IntoDeserializer};

use super::provider_table::{ModelTable, ProviderTable};
use crate::domain::{
    Limit, Scope,
    provider::{HintField, HintHeader, HintValue},
};

/// `src/catalog/providers.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builtin {
    /// Version of the file's layout.
    pub schema: u32,
    /// Month of its most recent fact.
    pub as_of: String,
    /// Grows with each change of the file: a catalogue with a smaller one is older.
    pub serial: u64,
    header_dialect: BTreeMap<String, Vec<HeaderRow>>,
    /// The table of every provider that is not in the catalogue.
    pub template: ProviderTable,
    pub providers: IndexMap<String, ProviderTable>,
}

pub(super) const BUILTIN_TEXT: &str = include_str!("../catalog/providers.toml");

static BUILTIN: LazyLock<Builtin> =
    LazyLock::new(|| toml::from_str(BUILTIN_TEXT).expect("the built-in catalogue is tested to parse"));

/// Laid over the one in the program. Each one that was adopted stays in memory: some hundred kilobytes, a few times a year.
pub(super) static ADOPTED: RwLock<Option<&'static Builtin>> = RwLock::new(None);

/// The catalogue that is compiled into the program.
pub(super) fn compiled_in() -> &'static Builtin {
    &BUILTIN
}

/// The catalogue in force: a fetched one over the one in the program, or the latter alone.
pub fn builtin() -> &'static Builtin {
    ADOPTED.read().unwrap_or_else(|| compiled_in())
}

impl Builtin {
    /// Lays this catalogue over another: providers and header dialects of the same name are replaced as a whole.
    pub(super) fn over(self, under: &Self) -> Self {
        let mut providers = under.providers.clone();
        providers.extend(self.providers);
        let mut header_dialect = under.header_dialect.clone();
        header_dialect.extend(self.header_dialect);
        Self { header_dialect, providers, ..self }
    }

    pub fn provider(&self, id: &str) -> Option<&ProviderTable> {
        self.providers.get(id)
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// The provider's model of this id or alias.
    pub fn model(&self, provider: &str, name: &str) -> Option<&ModelTable> {
        let models = &self.provider(provider)?.models;
        models.get(name).or_else(|| models.values().find(|model| model.aliases.iter().any(|alias| alias == name)))
    }

    /// Length of the vectors of a family that the catalogue has.
    pub fn dimensions(&self, family: &str) -> Option<u32> {
        let mut models = self.providers.values().flat_map(|provider| provider.models.values());
        models.find(|model| model.family.as_deref() == Some(family))?.dimensions
    }

    /// The headers of a header dialect. `None`: there is none of that name.
    pub fn headers(&self, dialect: &str) -> Option<Vec<HintHeader>> {
        let rows = self.header_dialect.get(dialect)?;
        let header = |row: &HeaderRow| HintHeader {
            name: row.name.clone(),
            limit: row.limit,
            scope: row.scope,
            field: row.field,
            value: row.value,
        };
        Some(rows.iter().map(header).collect())
    }

    pub fn header_dialects(&self) -> impl Iterator<Item = &str> {
        self.header_dialect.keys().map(String::as_str)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRow {
    name: String,
    #[serde(deserialize_with = "limit_or_any")]
    limit: Option<Limit>,
    scope: Scope,
    field: HintField,
    value: HintValue,
}

/// `*` is the limit that refused, whichever it is.
fn limit_or_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Limit>, D::Error> {
    match String::deserialize(input)?.as_str() {
        "*" => Ok(None),
        name => Limit::deserialize(name.into_deserializer()).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::provider_table::LimitValue, domain::provider::Status};

    #[test]
    fn the_catalogue_parses_without_unknown_keys_and_is_in_its_own_order() {
        let ids: Vec<&str> = builtin().ids().collect();
        assert_eq!(&ids[..6], ["groq", "gemini", "cerebras", "mistral", "ollama", "ollama-cloud"]);
        let groq: Vec<&str> = builtin().provider("groq").unwrap().models.keys().map(String::as_str).collect();
        assert_eq!(&groq[..2], ["openai/gpt-oss-120b", "openai/gpt-oss-20b"]);
    }

    #[test]
    fn an_unknown_key_in_the_catalogue_does_not_parse() {
        let text = include_str!("../catalog/providers.toml");
        for (from, to) in
            [("quality = 53", "qualty = 53"), ("token_charge = \"reserve\"", "token_charged = \"reserve\"")]
        {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text);
            assert!(toml::from_str::<Builtin>(&broken).is_err(), "{to}");
        }
    }

    #[test]
    fn names_are_unique_references_resolve_and_limits_have_a_confidence() {
        for (id, provider) in &builtin().providers {
            assert!(provider.base_url.is_some(), "{id}");
            let headers = provider.headers.as_deref().unwrap_or("retry_after");
            assert!(builtin().headers(headers).is_some(), "{id}: header dialect {headers}");
            assert!(
                provider.limits.is_empty() && provider.model_limits.is_empty() || provider.confidence.is_some(),
                "{id}"
            );
            let mut names = std::collections::BTreeSet::new();
            for (model_id, model) in &provider.models {
                for name in std::iter::once(model_id).chain(&model.aliases) {
                    assert!(names.insert(name.clone()), "{id}: `{name}` names two models");
                }
                assert!(model.context.is_some() && model.quality.is_some(), "{id}/{model_id}");
                assert!(
                    model.limits.is_empty() || model.confidence.is_some(),
                    "{id}/{model_id}: limits without a confidence"
                );
                assert_eq!(model.status == Some(Status::Retired), model.retired_on.is_some(), "{id}/{model_id}");
                if let Some(next) = &model.successor {
                    let next = provider.models.get(next).expect(model_id);
                    assert_ne!(next.status, Some(Status::Retired), "{id}/{model_id}");
                }
            }
        }
        let pro = builtin().provider("gemini").unwrap().models.get("gemini-3.1-pro-preview").unwrap();
        assert_eq!(pro.limits[&Limit::Rpd], LimitValue::Max(0));
    }
}
