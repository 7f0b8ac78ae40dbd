//! Values that stand in whole messages and in events alike.

use serde::Serialize;
use serde_json::{Value, json};

/// What the client wants to see of the model's thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing: a client that did not ask for thinking expects the text first.
    #[default]
    Hidden,
    Shown,
    /// Blocks without their text.
    Omitted,
}

pub(super) fn message_id() -> String {
    format!("msg_{}", uuid::Uuid::new_v4().simple())
}

/// Appends one server-sent event.
pub(super) fn event(out: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    for part in ["event: ", name, "\ndata: "] {
        out.extend_from_slice(part.as_bytes());
    }
    // Writing to memory cannot fail, and neither can the data that is passed here.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

/// What stands for the signature of a thought: providers of chat completions sign none.
pub(super) fn signature(model: &str) -> String {
    data_encoding::BASE64.encode(format!("tollfree:{model}").as_bytes())
}

/// The input of a tool call. Arguments that are no JSON object stay visible.
pub(super) fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({ "arguments": arguments }),
    }
}
