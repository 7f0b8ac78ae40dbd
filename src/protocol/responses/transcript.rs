//! The messages of a conversation, as they are collected and as a chat completion has them.

use std::fmt::Write as _;

use super::content::Content;
use crate::protocol::BadRequest;

#[derive(Debug)]
pub(super) enum Entry {
    /// A complete message.
    Message {
        json: String,
        is_user: bool,
    },
    Turn(Turn),
}

impl Entry {
    /// Bytes of its text, about.
    fn size(&self) -> usize {
        match self {
            Self::Message { json, .. } => json.len(),
            Self::Turn(turn) => {
                let texts = turn.texts.iter().chain(&turn.refusals).map(String::len).sum::<usize>();
                let calls = turn.calls.iter().map(|call| {
                    let output = call.output.as_ref().map_or(0, |output| output.joined_text().len());
                    call.json.len() + output
                });
                texts + calls.sum::<usize>()
            }
        }
    }

    fn is_instruction(&self) -> bool {
        let Self::Message { json, .. } = self else { return false };
        ["{\"role\":\"system\"", "{\"role\":\"developer\""].iter().any(|start| json.starts_with(start))
    }
}

/// One answer of the assistant, with the outputs of its calls.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub texts: Vec<String>,
    pub refusals: Vec<String>,
    pub reasoning: Vec<String>,
    pub calls: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct Call {
    /// As written between its quotes.
    pub id: String,
    pub json: String,
    pub output: Option<Content>,
    /// The path and the name of the item, for the error about a missing output.
    pub missing: BadRequest,
}

/// Leaves out the beginning, so that about this share of the text is kept. Instructions and the end stay.
pub(super) fn truncate(entries: &mut Vec<Entry>, share: f64) {
    let total: usize = entries.iter().map(Entry::size).sum();
    let mut excess = total as f64 * (1.0 - share);
    let mut left = entries.len();
    entries.retain(|entry| {
        left -= 1;
        let keeps = excess <= 0.0 || left == 0 || entry.is_instruction();
        if !keeps {
            excess -= entry.size() as f64;
        }
        keeps
    });
}

/// Writes the list of messages. `lenient`: calls without an output are accepted.
pub(super) fn write(entries: Vec<Entry>, lenient: bool, out: &mut String) -> Result<(), BadRequest> {
    let is_user = |entry: &Entry| matches!(entry, Entry::Message { is_user: true, .. });
    let last_user = entries.iter().rposition(is_user);
    let mut messages = Messages { out, separator: '[' };
    for (at, entry) in entries.into_iter().enumerate() {
        match entry {
            Entry::Message { json, .. } => messages.push(&json),
            // Reasoning matters while a turn is under way. Some providers refuse that of earlier turns.
            Entry::Turn(turn) => messages.turn(turn, last_user.is_none_or(|user| at > user), lenient)?,
        }
    }
    if messages.separator == '[' {
        messages.out.push('[');
    }
    messages.out.push(']');
    Ok(())
}

struct Messages<'o> {
    out: &'o mut String,
    separator: char,
}

impl Messages<'_> {
    fn push(&mut self, json: &str) {
        self.out.push(std::mem::replace(&mut self.separator, ','));
        self.out.push_str(json);
    }

    fn turn(&mut self, turn: Turn, with_reasoning: bool, lenient: bool) -> Result<(), BadRequest> {
        let mut message = "{\"role\":\"assistant\",\"content\":".to_owned();
        if turn.texts.is_empty() {
            message.push_str(if turn.calls.is_empty() && turn.refusals.is_empty() { "\"\"" } else { "null" });
        } else {
            message.push('"');
            message.push_str(&turn.texts.join("\\n\\n"));
            message.push('"');
        }
        if !turn.refusals.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = write!(message, ",\"refusal\":\"{}\"", turn.refusals.join("\\n\\n"));
        }
        if with_reasoning && !turn.reasoning.is_empty() {
            let reasoning = serde_json::Value::from(turn.reasoning.join("\n\n"));
            let _ = write!(message, ",\"reasoning_content\":{reasoning}");
        }
        if !turn.calls.is_empty() {
            let calls: Vec<&str> = turn.calls.iter().map(|call| call.json.as_str()).collect();
            let _ = write!(message, ",\"tool_calls\":[{}]", calls.join(","));
        }
        message.push('}');
        self.push(&message);
        let mut media = String::new();
        for call in turn.calls {
            let output = match call.output {
                Some(output) => output,
                None if lenient => Content::default(),
                None => return Err(call.missing),
            };
            let content = output.joined_text();
            self.push(&format!("{{\"role\":\"tool\",\"tool_call_id\":\"{}\",\"content\":{content}}}", call.id));
            if !output.media.is_empty() {
                let _ = write!(media, ",{{\"type\":\"text\",\"text\":\"Output of the tool call {}:\"}}", call.id);
                let _ = write!(media, ",{}", output.media.join(","));
            }
        }
        // Hardly a provider takes images in the message of a tool.
        if let Some(parts) = media.strip_prefix(',') {
            self.push(&format!("{{\"role\":\"user\",\"content\":[{parts}]}}"));
        }
        Ok(())
    }
}
