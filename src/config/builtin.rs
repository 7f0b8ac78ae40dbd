//! The built-in catalogue, read once. Its text is part of the program, so a mistake in it is a failed test, never a failed start.

use std::{collections::BTreeMap, sync::LazyLock};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de::Error};

use super::{provider_table::ProviderTable, words};
use crate::domain::{
    Limit,
    provider::{HintField, HintHeader, HintValue},
};

/// `src/catalog/providers.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builtin {
    /// Layout of the file.
    pub schema: u32,
    /// Month of its newest fact.
    pub as_of: String,
    header_dialect: BTreeMap<String, Vec<HeaderRow>>,
    /// What holds for a provider that only the operator's file knows.
    pub template: ProviderTable,
    pub providers: IndexMap<String, ProviderTable>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    toml::from_str(include_str!("../catalog/providers.toml")).expect("the built-in catalogue is tested to parse")
});

/// The catalogue that this program was built with.
pub fn builtin() -> &'static Builtin {
    &BUILTIN
}

impl Builtin {
    pub fn provider(&self, id: &str) -> Option<&ProviderTable> {
        self.providers.get(id)
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// The headers of a dialect; `None`: there is no dialect of that name.
    pub fn headers(&self, dialect: &str) -> Option<Vec<HintHeader>> {
        let rows = self.header_dialect.get(dialect)?;
        Some(rows.iter().map(|row| row.0.clone()).collect())
    }

    pub fn header_dialects(&self) -> impl Iterator<Item = &str> {
        self.header_dialect.keys().map(String::as_str)
    }
}

#[derive(Debug)]
struct HeaderRow(HintHeader);

impl<'de> Deserialize<'de> for HeaderRow {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Row {
            name: String,
            limit: String,
            field: String,
            value: String,
        }
        const FIELDS: [(&str, HintField); 7] = [
            ("limit", HintField::Limit),
            ("remaining", HintField::Remaining),
            ("reset", HintField::Reset),
            ("reset_at", HintField::ResetAt),
            ("until_full", HintField::UntilFull),
            ("cost", HintField::Cost),
            ("retry", HintField::Retry),
        ];
        const VALUES: [(&str, HintValue); 5] = [
            ("int", HintValue::Int),
            ("float_seconds", HintValue::FloatSeconds),
            ("go_duration", HintValue::GoDuration),
            ("int_seconds", HintValue::IntSeconds),
            ("epoch_ms", HintValue::EpochMs),
        ];
        let row = Row::deserialize(input)?;
        let limit = match row.limit.as_str() {
            "*" => None,
            name => Some(name.parse::<Limit>().map_err(|()| D::Error::custom(format!("unknown limit `{name}`")))?),
        };
        Ok(Self(HintHeader {
            name: row.name,
            limit,
            field: words::one_of(&row.field, &FIELDS).map_err(D::Error::custom)?,
            value: words::one_of(&row.value, &VALUES).map_err(D::Error::custom)?,
        }))
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

    /// What the catalogue names must exist, names must be unique, and every figure needs its mark.
    #[test]
    fn the_catalogue_holds_together() {
        for (id, provider) in &builtin().providers {
            assert!(provider.base_url.is_some(), "{id}");
            let headers = provider.headers.as_deref().unwrap_or("retry_after");
            assert!(builtin().headers(headers).is_some(), "{id}: header dialect {headers}");
            assert!(
                provider.limits.0.is_empty() && provider.model_limits.0.is_empty() || provider.mark.is_some(),
                "{id}"
            );
            let mut names = std::collections::BTreeSet::new();
            for (model_id, model) in &provider.models {
                for name in std::iter::once(model_id).chain(&model.aliases) {
                    assert!(names.insert(name.clone()), "{id}: `{name}` stands for two models");
                }
                assert!(model.context.is_some() && model.quality.is_some(), "{id}/{model_id}");
                assert!(model.limits.0.is_empty() || model.mark.is_some(), "{id}/{model_id}: limits without a mark");
                assert_eq!(model.status == Some(Status::Retired), model.retired_on.is_some(), "{id}/{model_id}");
                if let Some(next) = &model.successor {
                    let next = provider.models.get(next).expect(model_id);
                    assert_ne!(next.status, Some(Status::Retired), "{id}/{model_id}");
                }
            }
        }
        let pro = builtin().provider("gemini").unwrap().models.get("gemini-3.1-pro-preview").unwrap();
        assert_eq!(pro.limits.0[&Limit::Rpd], LimitValue::Max(0));
    }
}
