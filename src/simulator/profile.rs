//! Profiles: limits, latency, accounts and switches of the simulated providers, as JSON.
//!
//! A profile is merged over the one in force by RFC 7396: objects merge, other values replace, null removes. Beyond that:
//! `base` replaces what is merged over, `every_provider` and `every_model` apply to all existing entries, `accounts` and
//! spreads replace as a whole, and one word for `window` stands for every limit.

use anyhow::bail;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{accounting::limit::LimitName, settings::Settings};

/// The built-in profile.
const REAL: &str = include_str!("real.toml");
/// Fields that are replaced as a whole.
const REPLACED: [&str; 4] = ["accounts", "first_ms", "chunk_ms", "tokens"];

/// A profile to merge over another one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Profile(Value);

impl Profile {
    /// # Panics
    /// When the built-in profile is not valid; a test parses it.
    pub(crate) fn real() -> Self {
        let mut profile = json!({});
        merge(&mut profile, &toml::from_str(REAL).expect("the built-in profile is valid"));
        Self(profile)
    }

    /// This profile with `over` merged over it, its `base` first.
    pub(crate) fn merged(&self, over: &Self) -> anyhow::Result<Self> {
        let over = if over.0.is_null() { &json!({}) } else { &over.0 };
        let Some(over) = over.as_object() else { bail!("a profile is an object") };
        let mut result = match over.get("base").and_then(Value::as_str) {
            None => self.clone(),
            Some("real") => Self::real(),
            Some("unlimited") => self.unlimited()?,
            Some(base) => bail!("`{base}` is not a base: it is `real` or `unlimited`"),
        };
        let empty = json!({});
        let mut rest: Map<String, Value> = over.clone();
        rest.remove("base");
        let every = rest.remove("every_provider");
        let named = rest.remove("providers").unwrap_or_else(|| empty.clone());
        merge(&mut result.0, &Value::Object(rest));
        if let Some(providers) = result.0["providers"].as_object_mut() {
            for provider in providers.values_mut() {
                merge_provider(provider, every.as_ref().unwrap_or(&empty));
            }
            for (id, own) in named.as_object().into_iter().flatten() {
                merge_provider(providers.entry(id.clone()).or_insert_with(|| empty.clone()), own);
            }
        }
        Ok(result)
    }

    /// Without limits, latency and log: the cheapest path there is.
    fn unlimited(&self) -> anyhow::Result<Self> {
        self.merged(&Self(json!({
            "log": 0,
            "every_provider": {
                "limits": "none",
                "jitter_ms": 0,
                "every_model": { "limits": "none", "latency": null },
                "latency": { "first_ms": 0, "chunk_ms": 0 },
            },
        })))
    }

    /// The settings of every provider, with `every_model` and the provider's latency merged into each model.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let mut profile = self.0.clone();
        for provider in profile["providers"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            let Some(fields) = provider.as_object_mut() else { bail!("a provider is an object") };
            let common = fields.remove("every_model").unwrap_or_else(|| json!({}));
            let latency = fields.remove("latency").unwrap_or_else(|| json!({}));
            for model in fields.get_mut("models").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                let own = std::mem::replace(model, json!({ "latency": latency }));
                merge(model, &common);
                merge(model, &own);
            }
        }
        Ok(serde_json::from_value(profile)?)
    }
}

fn merge_provider(provider: &mut Value, over: &Value) {
    for model in provider.get_mut("models").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        merge(model, &over["every_model"]);
        // A pace set for the whole provider applies to models with a pace of their own, too.
        if let (Some(own), Some(pace)) = (model.get_mut("latency"), over.get("latency")) {
            merge(own, pace);
        }
    }
    merge(provider, over);
}

fn merge(under: &mut Value, over: &Value) {
    let Some(over) = over.as_object() else {
        if !over.is_null() {
            *under = over.clone();
        }
        return;
    };
    if !under.is_object() {
        *under = json!({});
    }
    let Some(fields) = under.as_object_mut() else { return };
    for (name, value) in over {
        match value {
            Value::Null => drop(fields.remove(name)),
            Value::String(_) if name == "window" => {
                let kinds = LimitName::ALL.map(|limit| (limit.as_str().to_owned(), value.clone()));
                fields.insert(name.clone(), Value::Object(kinds.into_iter().collect()));
            }
            _ if REPLACED.contains(&name.as_str()) => drop(fields.insert(name.clone(), value.clone())),
            _ => merge(fields.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{accounting::limit::WindowKind, provider::Provider, settings::Spread};

    fn provider(id: &str, over: &str) -> Provider {
        let profile = Profile::real().merged(&serde_json::from_str(over).unwrap()).unwrap();
        Provider::build(id, &profile.settings().unwrap().providers[id]).unwrap()
    }

    fn limits(provider: &Provider, model: &str) -> Vec<(LimitName, WindowKind, i64)> {
        let model = provider.model(model).unwrap();
        model.limits.iter().map(|limit| (limit.name, limit.kind, limit.max)).collect()
    }

    #[test]
    fn the_built_in_profile_builds_every_provider() {
        for (id, settings) in &Profile::real().settings().unwrap().providers {
            assert!(!Provider::build(id, settings).unwrap().models.is_empty(), "{id}");
        }
        let gemini = limits(&provider("gemini", "{}"), "gemini-flash-latest");
        assert!(gemini.contains(&(LimitName::Rpd, WindowKind::Calendar, 20)));
        assert!(gemini.contains(&(LimitName::Rpm, WindowKind::Clock, 5)));
        let cohere = limits(&provider("cohere", "{}"), "embed-v4.0");
        assert_eq!(cohere, [(LimitName::Rpm, WindowKind::Sliding, 100)], "as the catalogue has it");
    }

    #[test]
    fn a_limit_is_changed_or_removed_by_name() {
        for none in ["\"none\"", "null"] {
            let over = format!(
                r#"{{"providers":{{"groq":{{"window":{{"rpm":"sliding"}},"models":{{"openai/gpt-oss-120b":{{"limits":{{"rpm":3,"rpd":{none}}}}}}}}}}}}}"#
            );
            let limits = limits(&provider("groq", &over), "openai/gpt-oss-120b");
            assert_eq!(limits[0], (LimitName::Rpm, WindowKind::Sliding, 3));
            assert_eq!(limits[1], (LimitName::Tpm, WindowKind::Bucket, 8_000));
            assert_eq!(limits.len(), 3);
        }
    }

    #[test]
    fn unlimited_has_no_limit_and_no_latency_and_can_be_built_upon() {
        let over = r#"{"base":"unlimited","every_provider":{"every_model":{"limits":{"rpm":7}}},"providers":{"groq":{"latency":{"first_ms":5}}}}"#;
        let mistral = provider("mistral", over);
        assert_eq!(limits(&mistral, "ministral-3b-2512"), [(LimitName::Rpm, WindowKind::Sliding, 7)]);
        let latency = provider("groq", over).model("openai/gpt-oss-20b").unwrap().latency;
        assert_eq!((latency.first_ms, latency.chunk_ms), (Spread::Fixed(5.0), Spread::Fixed(0.0)));
    }

    #[test]
    fn accounts_and_spreads_replace_as_a_whole_and_unknown_fields_are_refused() {
        let over = r#"{"providers":{"groq":{"accounts":{"one":["k"]},"latency":{"first_ms":{"min":1,"max":2}}}}}"#;
        let groq = provider("groq", over);
        assert_eq!(groq.keys.len(), 1);
        assert_eq!(groq.models[0].latency.first_ms, Spread::Uniform { min: 1.0, max: 2.0 });
        for wrong in [
            r#"{"providers":{"groq":{"widnow":"sliding"}}}"#,
            r#"{"providers":{"groq":{"every_model":{"limits":{"rpx":1}}}}}"#,
        ] {
            let profile = Profile::real().merged(&serde_json::from_str(wrong).unwrap()).unwrap();
            assert!(profile.settings().is_err(), "{wrong}");
        }
        assert!(Profile::real().merged(&serde_json::from_str(r#"{"base":"odd"}"#).unwrap()).is_err());
    }
}
