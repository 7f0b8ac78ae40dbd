//! One entry of a provider's list of models. Providers state sizes, prices and abilities in different ways, or not at all; a
//! field in a form that is not known counts as not stated.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bounds::MAX_CODE_CHARS;
use crate::domain::{Capabilities, ListedModel};

const CONTEXT: [&str; 6] =
    ["context_length", "context_window", "max_context_length", "max_model_len", "max_context_tokens", "context_size"];
const MAX_OUTPUT: [&str; 5] =
    ["max_completion_tokens", "max_output_tokens", "max_output_length", "max_output", "max_tokens"];
/// Abilities by the words with which providers state them.
const ABILITIES: [(&str, Capabilities); 16] = [
    ("tools", Capabilities::TOOLS),
    ("tool_use", Capabilities::TOOLS),
    ("tool-use", Capabilities::TOOLS),
    ("function_calling", Capabilities::TOOLS),
    ("supports_tool_calling", Capabilities::TOOLS),
    ("structured_outputs", Capabilities::JSON_SCHEMA),
    ("json_schema", Capabilities::JSON_SCHEMA),
    ("response_format", Capabilities::JSON_OBJECT),
    ("json_mode", Capabilities::JSON_OBJECT),
    ("vision", Capabilities::VISION),
    ("image", Capabilities::VISION),
    ("supports_vision", Capabilities::VISION),
    ("reasoning", Capabilities::REASONING),
    ("thinking", Capabilities::REASONING),
    ("supports_reasoning", Capabilities::REASONING),
    ("audio", Capabilities::AUDIO_IN),
];
/// Where a list states abilities: as an array of words, or as an object or fields with true and false.
const STATED_IN: [&str; 5] = ["supported_parameters", "capabilities", "features", "supported_features", "tags"];
const FLAGS: [&str; 3] = ["supports_tool_calling", "supports_vision", "supports_reasoning"];

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    id: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Entry {
    /// The model without the prefix of the list.
    pub(super) fn into_model(self, prefix: &str) -> ListedModel {
        let id = self.id.strip_prefix(prefix).unwrap_or(&self.id).to_owned();
        ListedModel {
            context: self.context(),
            max_output: self.max_output(),
            capabilities: self.capabilities(),
            is_free: self.is_free(),
            tier: self.text("tier").filter(|tier| tier.len() <= MAX_CODE_CHARS),
            is_paid_only: self.flag("paid_only") == Some(true),
            id,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.rest.get(name)?.as_str().map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.rest.get(name)?.as_bool()
    }

    fn context(&self) -> Option<i64> {
        // llama.cpp describes the model in `meta`.
        first_number(&self.rest, &CONTEXT).or_else(|| first_number(self.object("meta")?, &["n_ctx_train"]))
    }

    fn max_output(&self) -> Option<i64> {
        let behind = || first_number(self.object("top_provider")?, &MAX_OUTPUT);
        first_number(&self.rest, &MAX_OUTPUT).or_else(behind)
    }

    fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.rest.get(name)?.as_object()
    }

    /// Whether all prices are 0; `None` if none is stated.
    fn is_free(&self) -> Option<bool> {
        let listed = self.object("pricing").into_iter().flat_map(Map::values);
        let of_entry = ["input_price", "output_price"].into_iter().filter_map(|name| self.rest.get(name));
        let prices: Vec<f64> = listed.chain(of_entry).filter_map(price).collect();
        (!prices.is_empty()).then(|| prices.iter().all(|price| *price == 0.0))
    }

    fn capabilities(&self) -> Option<Capabilities> {
        let stated = STATED_IN.iter().filter_map(|name| self.rest.get(*name));
        let mut words: Vec<&str> = Vec::new();
        let mut is_stated = false;
        for value in stated {
            match value {
                Value::Array(items) => words.extend(items.iter().filter_map(Value::as_str)),
                Value::Object(flags) => {
                    words.extend(flags.iter().filter(|(_, on)| **on == Value::Bool(true)).map(|(name, _)| &**name));
                }
                _ => continue,
            }
            is_stated = true;
        }
        let flags = FLAGS.iter().filter_map(|name| Some((*name, self.flag(name)?)));
        for (name, on) in flags {
            is_stated = true;
            words.extend(on.then_some(name));
        }
        if !is_stated {
            return None;
        }
        let inputs = self.object("architecture").and_then(|of| of.get("input_modalities")).and_then(Value::as_array);
        words.extend(inputs.into_iter().flatten().filter_map(Value::as_str));
        let of = |word: &str| ABILITIES.iter().find(|(name, _)| *name == word).map(|(_, ability)| *ability);
        Some(words.into_iter().filter_map(of).fold(Capabilities::default(), Capabilities::with))
    }
}

fn first_number(object: &Map<String, Value>, names: &[&str]) -> Option<i64> {
    names.iter().find_map(|name| object.get(*name)?.as_i64()).filter(|n| *n > 0)
}

fn price(value: &Value) -> Option<f64> {
    match value {
        // Prices by size or by time of day.
        Value::Array(steps) => steps.iter().filter_map(price).reduce(f64::max),
        Value::Object(parts) => parts.values().filter_map(price).reduce(f64::max),
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model(entry: Value) -> ListedModel {
        serde_json::from_value::<Entry>(entry).unwrap().into_model("models/")
    }

    #[test]
    fn prices_are_read_in_every_form() {
        let free = |entry| model(entry).is_free;
        assert_eq!(free(json!({ "id": "m", "pricing": { "prompt": "0", "completion": 0, "tiers": [] } })), Some(true));
        assert_eq!(free(json!({ "id": "m", "pricing": { "prompt": "0.0000004" } })), Some(false));
        assert_eq!(
            free(json!({ "id": "m", "pricing": { "input": "0", "input_tiers": [{ "cost": "0.1" }] } })),
            Some(false)
        );
        assert_eq!(free(json!({ "id": "m", "input_price": 0, "output_price": 0.0 })), Some(true));
        assert_eq!(free(json!({ "id": "m", "input_price": 0, "output_price": 1e-7 })), Some(false));
        assert_eq!(free(json!({ "id": "m", "pricing": "none" })), None);
    }

    #[test]
    fn sizes_and_abilities_are_read_where_they_are_stated() {
        let openrouter = model(json!({
            "id": "m", "context_length": 262_144, "top_provider": { "max_completion_tokens": 65_536 },
            "supported_parameters": ["tools", "top_p"], "architecture": { "input_modalities": ["text", "image"] },
        }));
        assert_eq!((openrouter.context, openrouter.max_output), (Some(262_144), Some(65_536)));
        assert_eq!(openrouter.capabilities, Some(Capabilities::TOOLS.with(Capabilities::VISION)));
        let mistral = model(json!({
            "id": "m", "max_context_length": 131_072,
            "capabilities": { "function_calling": true, "vision": false, "completion_chat": true },
        }));
        assert_eq!((mistral.context, mistral.capabilities), (Some(131_072), Some(Capabilities::TOOLS)));
        let requesty = model(json!({ "id": "m", "supports_vision": true, "supports_tool_calling": false }));
        assert_eq!(requesty.capabilities, Some(Capabilities::VISION));
        let vercel =
            model(json!({ "id": "m", "context_window": 8, "max_tokens": 4, "tags": ["tool-use", "reasoning"] }));
        assert_eq!(vercel.capabilities, Some(Capabilities::TOOLS.with(Capabilities::REASONING)));
        // Our own list has two names for the context.
        let own = model(json!({ "id": "models/m", "context_length": 5, "context_window": 5, "tier": "turbo" }));
        assert_eq!((&*own.id, own.context, own.tier.as_deref(), own.capabilities), ("m", Some(5), Some("turbo"), None));
        let odd =
            model(json!({ "id": "m", "context_length": "large", "capabilities": 3, "paid_only": true, "meta": null }));
        assert_eq!((odd.context, odd.capabilities, odd.is_paid_only), (None, None, true));
    }
}
