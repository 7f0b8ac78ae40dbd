//! Reads a delta or a message: its content, its thinking and its tool calls.

use serde_json::json;

use super::{choice_state::ChoiceState, sse_event::EventFacts, tool_calls};
use crate::{
    json::{Json, JsonError, Kind, NameSet, Text},
    upstream::request_edit::body_patch::{BodyPatch, ObjectMembers},
};

/// Reads a delta or a message.
pub(super) struct DeltaReader<'r> {
    pub whole: bool,
    /// A `function_call` stays, since the request has `functions`.
    pub keeps_function_call: bool,
    pub choice: &'r mut ChoiceState,
    pub facts: &'r mut EventFacts,
    pub patch: &'r mut BodyPatch,
}

impl DeltaReader<'_> {
    pub(super) fn read(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let text = json.text();
        let mut kept = ObjectMembers::default();
        let mut seen = NameSet::default();
        let (mut thought, mut null_thought) = (String::new(), None);
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            let key = name.decode();
            let mut keep = seen.insert(key.clone());
            match (&*key, kind) {
                _ if !keep => json.skip()?,
                ("role", _) => {
                    json.skip()?;
                    keep = self.whole || !std::mem::replace(&mut self.choice.has_role, true);
                    if keep && &text[value_at..json.at()] != "\"assistant\"" {
                        self.patch.replace(value_at..json.at(), "\"assistant\"");
                    }
                }
                ("content" | "reasoning" | "reasoning_content" | "refusal", Kind::String) => {
                    let value = json.string()?;
                    self.says(value);
                }
                ("content", Kind::Array) => {
                    let mut said = String::new();
                    json.array(|_, json| self.content_item(json, &mut said, &mut thought))?;
                    self.patch.replace(value_at..json.at(), format!("\"{said}\""));
                }
                ("content" | "refusal", Kind::Bool | Kind::Number | Kind::Object | Kind::Array) => {
                    json.skip()?;
                    let written = self.as_text(kind, &text[value_at..json.at()]);
                    self.patch.replace(value_at..json.at(), written);
                }
                ("tool_calls", Kind::Array) => {
                    let calls = tool_calls::normalise(json, self.choice, !self.whole)?;
                    self.calls(&calls);
                    // A list without calls is none.
                    keep = calls.count > 0;
                    if let Some(rewritten) = calls.rewritten.filter(|_| keep) {
                        self.patch.replace(value_at..json.at(), rewritten);
                    }
                }
                ("function_call", Kind::Object) if !self.keeps_function_call => {
                    let call = tool_calls::of_function(json, self.choice, !self.whole)?;
                    keep = call.count > 0 && seen.insert("tool_calls");
                    if keep {
                        self.calls(&call);
                        let list = call.rewritten.unwrap_or_default();
                        self.patch.replace(name.at..json.at(), format!("\"tool_calls\":{list}"));
                    }
                }
                ("reasoning_content", Kind::Null) => {
                    json.skip()?;
                    null_thought = Some(value_at..json.at());
                }
                // Clients that write the message back read any `tool_calls` as a list.
                ("tool_calls", _) => {
                    json.skip()?;
                    keep = false;
                }
                // Typed clients refuse thoughts of another kind than a string.
                ("reasoning" | "reasoning_content", Kind::Bool | Kind::Number | Kind::Object | Kind::Array) => {
                    let mut said = String::new();
                    if kind == Kind::Array {
                        json.array(|_, json| self.content_item(json, &mut said, &mut String::new()))?;
                    } else {
                        self.content_item(json, &mut said, &mut String::new())?;
                    }
                    self.patch.replace(value_at..json.at(), format!("\"{said}\""));
                }
                ("function_call" | "audio", Kind::Object) => {
                    self.has_content();
                    json.skip()?;
                }
                ("reasoning_details" | "images", Kind::Array) => json.array(|_, json| {
                    self.has_content();
                    json.skip()
                })?,
                _ => json.skip()?,
            }
            if keep {
                kept.keep(name.at..json.at(), self.patch);
            } else {
                kept.cut(name.at..json.at());
            }
            Ok::<_, JsonError>(())
        })?;
        if let Some(null) = null_thought.filter(|_| !thought.is_empty()) {
            self.patch.replace(null, format!("\"{thought}\""));
        }
        let added = self.added(&seen, &thought);
        kept.close(&added, start, self.patch);
        Ok(())
    }

    /// What a message must have and the provider has not sent, and the thinking of a content array.
    fn added(&mut self, seen: &NameSet<'_>, thought: &str) -> String {
        let mut added = Vec::new();
        if !seen.contains("role") && (self.whole || !std::mem::replace(&mut self.choice.has_role, true)) {
            added.push("\"role\":\"assistant\"".to_owned());
        }
        if self.whole && !seen.contains("content") {
            added.push("\"content\":null".to_owned());
        }
        if !thought.is_empty() && !seen.contains("reasoning_content") {
            added.push(format!("\"reasoning_content\":\"{thought}\""));
        }
        added.join(",")
    }

    /// Enters what a list of tool calls has.
    fn calls(&mut self, calls: &tool_calls::ToolCalls) {
        self.counts(calls.chars);
        if self.choice.has_calls() {
            self.has_content();
        }
    }

    fn has_content(&mut self) {
        self.facts.content = true;
        self.choice.has_content = true;
    }

    /// A content that is no text as one, or as null where it says nothing.
    fn as_text(&mut self, kind: Kind, value: &str) -> String {
        if says_nothing(kind, value) {
            return "null".to_owned();
        }
        self.has_content();
        json!(value).to_string()
    }

    fn says(&mut self, text: Text<'_>) {
        if text.raw.is_empty() {
            return;
        }
        self.has_content();
        self.counts(if text.raw.is_ascii() { text.raw.len() } else { text.raw.chars().count() });
    }

    fn counts(&mut self, chars: usize) {
        self.facts.chars = self.facts.chars.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX));
    }

    /// An item of a content array: `{"type":"text",…}` or `{"type":"thinking",…}` (Mistral). Raw strings are joined as written,
    /// since two JSON strings side by side make one.
    fn content_item(&mut self, json: &mut Json<'_>, said: &mut String, thought: &mut String) -> Result<(), JsonError> {
        match json.peek()? {
            Kind::String => {
                let text = json.string()?;
                self.says(text);
                said.push_str(text.raw);
                Ok(())
            }
            Kind::Object => json.object(|name, json| match (&*name.decode(), json.peek()?) {
                ("text", Kind::String) => {
                    let text = json.string()?;
                    self.says(text);
                    said.push_str(text.raw);
                    Ok(())
                }
                ("thinking", Kind::String | Kind::Object) => self.content_item(json, thought, &mut String::new()),
                ("thinking", Kind::Array) => json.array(|_, json| self.content_item(json, thought, &mut String::new())),
                _ => json.skip(),
            }),
            _ => json.skip(),
        }
    }
}

/// A value that some servers write in the place of null: `false`, `{}`, `[]`.
fn says_nothing(kind: Kind, value: &str) -> bool {
    match kind {
        Kind::Bool => value == "false",
        Kind::Object | Kind::Array => value[1..value.len() - 1].trim().is_empty(),
        _ => false,
    }
}
