//! Moderates texts: a text is of a category where it has its name as a word.

use serde_json::{Map, Value, json};

use super::{
    dialects::request_checks::RequestError,
    provider::Model,
    request::{SimulatedRequest, tokens_of},
};

/// Mistral's categories.
const CATEGORIES: [&str; 9] = [
    "sexual",
    "hate_and_discrimination",
    "violence_and_threats",
    "dangerous_and_criminal_content",
    "selfharm",
    "health",
    "financial",
    "law",
    "pii",
];

/// Parses a body. The error says what is missing.
pub(super) fn parse(body: &[u8]) -> Result<SimulatedRequest, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let model = body.get("model").and_then(Value::as_str).ok_or("`model` is missing")?.to_owned();
    if texts(&body).is_empty() {
        return Err("`input` must be a string or an array of strings".to_owned());
    }
    let prompt_tokens = texts(&body).iter().map(|text| tokens_of(text)).sum();
    Ok(SimulatedRequest { model, prompt_tokens, body, ..SimulatedRequest::default() })
}

fn texts(body: &Value) -> Vec<&str> {
    match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The first thing that is wrong with a request.
pub(super) fn check(model: &Model) -> Option<RequestError> {
    let message = || format!("{} is not a moderation model", model.id);
    (!model.can.moderate).then(|| RequestError::Value { param: "model", message: message() })
}

/// The categories of policies that guards are given.
const POLICY: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// The answer of a guard to a policy and an array of texts. `None`: the request is an ordinary chat.
pub(super) fn verdict(request: &SimulatedRequest) -> Option<String> {
    let policy = request.messages().first()?.get("content")?.as_str()?;
    let texts: Vec<String> =
        serde_json::from_str(&request.last_user).ok().filter(|_| policy.contains("Categories:"))?;
    let found = |text: &String| -> Vec<&str> {
        POLICY.into_iter().filter(|category| text.split_whitespace().any(|word| word == *category)).collect()
    };
    Some(json!({ "results": texts.iter().map(found).collect::<Vec<_>>() }).to_string())
}

/// The body of the response.
pub(super) fn response(request: &SimulatedRequest) -> String {
    let result = |text: &&str| {
        let is_in = |category: &&str| text.split_whitespace().any(|word| word == *category);
        let categories: Map<String, Value> =
            CATEGORIES.iter().map(|category| ((*category).to_owned(), is_in(category).into())).collect();
        let score = |category: &&str| if is_in(category) { 0.97 } else { 0.01 };
        let scores: Map<String, Value> =
            CATEGORIES.iter().map(|category| ((*category).to_owned(), score(category).into())).collect();
        json!({ "categories": categories, "category_scores": scores })
    };
    let results: Vec<Value> = texts(&request.body).iter().map(result).collect();
    json!({ "id": "mod-simulated", "model": request.model, "results": results }).to_string()
}
