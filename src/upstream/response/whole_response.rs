//! Conversions between a whole response and a stream, for servers that send the other form than was requested.

use serde_json::{Map, Value, json};

use super::sse_event::TokenUsage;

/// A whole response as the events of a stream: one chunk and `[DONE]`. The stream's own reader moves its usage.
pub(crate) fn as_events(body: &str) -> Vec<u8> {
    // Line ends are escaped inside strings and have no meaning outside.
    let chunk = body.replace(['\n', '\r'], " ");
    format!("data: {chunk}\n\ndata: [DONE]\n\n").into_bytes()
}

/// The usage for the client: the provider's own JSON where it has the three counts.
pub(crate) fn usage_json(written: &str, usage: TokenUsage) -> String {
    let has = |name: &str| written.contains(name);
    if has("\"prompt_tokens\"") && has("\"completion_tokens\"") && has("\"total_tokens\"") {
        return written.to_owned();
    }
    let TokenUsage { input, output, total } = usage;
    format!("{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{total}}}")
}

/// Assembles a whole response from the normalised chunks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    response: Map<String, Value>,
    choices: Vec<Value>,
}

impl Assembler {
    /// Adds the bytes of one event, `data: {…}`.
    pub(crate) fn push(&mut self, event: &[u8]) {
        let data = event.strip_prefix(b"data: ").unwrap_or(event);
        let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else { return };
        for (name, value) in chunk {
            match name.as_str() {
                "choices" => {
                    for choice in value.as_array().into_iter().flatten() {
                        self.push_choice(choice);
                    }
                }
                "object" => {}
                _ => {
                    if !value.is_null() {
                        self.response.insert(name, value);
                    }
                }
            }
        }
    }

    fn push_choice(&mut self, chunk: &Value) {
        let index = chunk["index"].as_u64().unwrap_or(0);
        let at = self.choices.iter().position(|choice| choice["index"] == index).unwrap_or_else(|| {
            let message = json!({ "role": "assistant", "content": null });
            self.choices.push(json!({ "index": index, "message": message, "finish_reason": "stop" }));
            self.choices.len() - 1
        });
        let choice = &mut self.choices[at];
        if let Some(reason) = chunk["finish_reason"].as_str() {
            choice["finish_reason"] = reason.into();
        }
        for (name, value) in chunk["delta"].as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("role", _) | (_, Value::Null) => {}
                ("tool_calls", Value::Array(fragments)) => {
                    let calls = &mut choice["message"]["tool_calls"];
                    if calls.is_null() {
                        *calls = json!([]);
                    }
                    for fragment in fragments {
                        push_call(calls, fragment);
                    }
                }
                (_, Value::String(text)) => {
                    let joined = choice["message"][name].as_str().unwrap_or_default().to_owned() + text;
                    choice["message"][name] = joined.into();
                }
                (_, other) => choice["message"][name] = other.clone(),
            }
        }
    }

    /// The whole response.
    pub(crate) fn finish(self) -> String {
        let mut response = self.response;
        response.insert("object".into(), "chat.completion".into());
        response.insert("choices".into(), self.choices.into());
        Value::Object(response).to_string()
    }
}

fn push_call(calls: &mut Value, fragment: &Value) {
    let Some(calls) = calls.as_array_mut() else { return };
    let index = fragment["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    if index >= calls.len() {
        let mut call = fragment.clone();
        if let Some(call) = call.as_object_mut() {
            call.remove("index");
        }
        calls.push(call);
        return;
    }
    let more = fragment.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
    let arguments = &mut calls[index]["function"]["arguments"];
    *arguments = (arguments.as_str().unwrap_or_default().to_owned() + more).into();
}
