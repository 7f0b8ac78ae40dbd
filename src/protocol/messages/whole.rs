//! The content of an answer that is not streamed.

use serde_json::{Value, json};

use super::{
    tool_id,
    usage::Counts,
    wire::{Thinking, input, signature},
};
use crate::protocol::{chat::Delta, tool_name::ChangedNames};

/// The content blocks of a message.
pub(super) fn content(
    mut message: Delta,
    thinking: Thinking,
    model: &str,
    names: &ChangedNames,
    counts: &mut Counts,
) -> Vec<Value> {
    let mut content = Vec::new();
    if let Some(thought) = message.take_reasoning().filter(|_| thinking != Thinking::Hidden) {
        counts.saw(&thought);
        let shown = if thinking == Thinking::Shown { thought } else { String::new() };
        content.push(json!({ "type": "thinking", "thinking": shown, "signature": signature(model) }));
    }
    for text in [message.content, message.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
        counts.saw(&text);
        content.push(json!({ "type": "text", "text": text }));
    }
    for call in message.tool_calls {
        counts.saw(&call.function.arguments);
        let id = tool_id::carry(call.id.as_deref().unwrap_or_default(), call.thought_signature());
        let input = input(&call.function.arguments);
        let name = call.function.name.as_deref().map(|name| names.original(name));
        content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    content
}
