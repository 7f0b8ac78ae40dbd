//! Completions of prompts: the request as a chat, and the answer of servers whose choices have texts.

use serde_json::{Value, json};

use super::{
    dialects::{DialectName, StreamEvent, request_checks::RequestError},
    provider::{Model, Provider},
    request::SimulatedRequest,
};

/// Parses a body. The error says what is missing.
pub(super) fn parse(body: &[u8]) -> Result<SimulatedRequest, String> {
    let mut body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Some(fields) = body.as_object_mut() else { return Err("the body is not an object".to_owned()) };
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let prompt = text(fields.remove("prompt")).ok_or("`prompt` is missing")?;
    let suffix = text(fields.remove("suffix"));
    let content = suffix.as_ref().map_or_else(|| prompt.clone(), |suffix| format!("{prompt} {suffix}"));
    fields.insert("messages".to_owned(), json!([{ "role": "user", "content": content }]));
    let mut request = SimulatedRequest::parse(body.to_string().as_bytes())?;
    request.has_suffix = suffix.is_some();
    Ok(request)
}

/// The first thing that is wrong with a request.
pub(super) fn check(provider: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
    let wrong = |param, message: String| Some(RequestError::Value { param, message });
    match provider.dialect {
        DialectName::Mistral if !model.can.fim => wrong("model", format!("{} does not support FIM", model.id)),
        DialectName::Ollama if request.has_suffix && !model.can.fim => {
            wrong("suffix", format!("registry.ollama.ai/library/{} does not support insert", model.id))
        }
        _ => None,
    }
}

/// Whether the provider's choices have texts in the place of messages.
pub(super) fn has_texts(provider: &Provider) -> bool {
    provider.dialect == DialectName::Ollama
}

/// A chat completion, whole or a chunk, with a text in each choice.
pub(super) fn as_text(chat: &str) -> String {
    let Ok(mut body) = serde_json::from_str::<Value>(chat) else { return chat.to_owned() };
    body["object"] = "text_completion".into();
    for choice in body["choices"].as_array_mut().into_iter().flatten() {
        let content =
            ["message", "delta"].iter().find_map(|name| choice[*name]["content"].as_str()).unwrap_or_default();
        *choice = json!({ "text": content, "index": choice["index"], "finish_reason": choice["finish_reason"] });
    }
    body.to_string()
}

pub(super) fn events_as_text(events: Vec<StreamEvent>) -> Vec<StreamEvent> {
    let text = |event: &StreamEvent| match event.text.strip_prefix("data: ").map(str::trim) {
        Some(data) if data != "[DONE]" => format!("data: {}\n\n", as_text(data)),
        _ => event.text.clone(),
    };
    events.into_iter().map(|event| StreamEvent { text: text(&event), ..event }).collect()
}
