//! A gateway as a tool sees it: its address, and the models that one key may use.

use serde_json::Value as Json;

/// The name under which Claude Code lists a meta-model.
pub(crate) const ANTHROPIC_PREFIX: &str = "anthropic/";
/// Meta-models for the main model and for small tasks, the most suitable first.
const MAIN: [&str; 3] = ["free-agent", "free-smart", "free"];
const SMALL: [&str; 2] = ["free-fast", "free"];

/// A model or meta-model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub name: String,
    /// The smallest of all that may answer. `None`: unknown.
    pub context_tokens: Option<i64>,
    pub output_tokens_max: Option<i64>,
    pub can_call_tools: bool,
    pub can_see: bool,
    pub can_reason: bool,
    /// Answers in the form of a JSON schema.
    pub can_keep_schema: bool,
    pub is_meta: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    /// Without `/v1` and without a slash at its end.
    pub url: String,
    pub offers: Vec<Offer>,
    /// The catalogue in Codex's own form.
    pub codex_models: Json,
}

impl Gateway {
    /// `models`: `GET /v1/models`. `windows`: the same with `anthropic-version`, which has the smallest windows.
    pub(crate) fn new(url: &str, models: &Json, windows: &Json, mut codex_models: Json) -> Self {
        for model in codex_models["models"].as_array_mut().into_iter().flatten() {
            // The gateway describes what is left of the budget now, which a file would repeat for ever.
            model["description"] = "On the shared budget.".into();
        }
        let listed = |list: &'_ Json| list["data"].as_array().cloned().unwrap_or_default();
        let windows = listed(windows);
        let offer = |card: &Json| {
            let name = card["id"].as_str()?;
            let window = windows.iter().find(|window| window["display_name"] == name);
            let tokens = |field: &str| window.and_then(|window| window[field].as_i64()).filter(|tokens| *tokens > 0);
            let can =
                |what: &str| card["capabilities"].as_array().is_some_and(|list| list.iter().any(|has| has == what));
            Some(Offer {
                name: name.to_owned(),
                context_tokens: tokens("max_input_tokens"),
                output_tokens_max: tokens("max_tokens"),
                can_call_tools: can("tools"),
                can_see: can("vision"),
                can_reason: can("reasoning"),
                can_keep_schema: can("json_schema"),
                is_meta: card["owned_by"] == "tollfree",
            })
        };
        let offers = listed(models).iter().filter(|card| card["status"] != "off").filter_map(offer).collect();
        Self { url: root_of(url), offers, codex_models }
    }

    pub(crate) fn offer(&self, name: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.name == name)
    }

    /// The base URL of OpenAI's clients.
    pub(crate) fn v1(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// What is chosen where nothing is given.
    pub(crate) fn main_model(&self) -> Option<&Offer> {
        let named = MAIN.iter().find_map(|name| self.offer(name));
        named.or_else(|| self.offers.iter().find(|offer| offer.can_call_tools)).or_else(|| self.offers.first())
    }

    pub(crate) fn small_model(&self) -> Option<&Offer> {
        SMALL.iter().find_map(|name| self.offer(name))
    }
}

/// The address without `/v1`, which some tools want at its end and others do not.
pub(crate) fn root_of(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url).trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_smallest_windows_and_the_abilities_come_from_the_two_lists() {
        let models = json!({ "data": [
            { "id": "free-smart", "owned_by": "tollfree", "capabilities": ["tools", "vision"], "status": "active", "context_length": 9 },
            { "id": "lab/m", "owned_by": "lab", "capabilities": [], "status": "active" },
            { "id": "lab/off", "owned_by": "lab", "capabilities": [], "status": "off" },
        ]});
        let windows = json!({ "data": [
            { "id": "anthropic/free-smart", "display_name": "free-smart", "max_input_tokens": 8_000, "max_tokens": 0 },
        ]});
        let gateway = Gateway::new("https://gw.example/llm/v1/", &models, &windows, json!({}));
        assert_eq!(
            (gateway.url.as_str(), gateway.v1().as_str()),
            ("https://gw.example/llm", "https://gw.example/llm/v1")
        );
        assert_eq!(gateway.offers.len(), 2);
        let smart = gateway.main_model().unwrap();
        assert_eq!((smart.context_tokens, smart.output_tokens_max), (Some(8_000), None));
        assert!(smart.can_call_tools && smart.can_see && !smart.can_reason && smart.is_meta);
        assert_eq!(gateway.small_model(), None);
    }
}
