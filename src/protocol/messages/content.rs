//! System prompt, messages and content blocks, as messages of a chat completion.

use super::{
    mistake::{Mistake, expect, optional, wrong},
    pairs::Pairs,
    parts::{BREAK, Parts, push_escaped},
    tool_id,
};
use crate::{
    json::Kind,
    protocol::{
        json_view::{Members, View},
        tool_name,
    },
};

/// Claude Code writes this line, which is not for the model, before its prompt. It changes with every request, so that no provider
/// could find the prompt in its cache.
const BILLING_LINE: &str = "x-anthropic-billing-header:";

/// The messages of a chat completion.
#[derive(Default)]
pub(super) struct Conversation {
    /// A JSON array.
    pub json: String,
    /// Blocks that were left out because only Anthropic's own servers make them.
    pub dropped: Vec<String>,
    pairs: Pairs,
    /// What the assistant has said in its latest messages in a row.
    turn: Turn,
    /// Messages that stand between a call and its result. They follow behind the result.
    late: Vec<(&'static str, String)>,
}

/// The assistant's messages in a row are one turn, because all its calls stand before their results.
#[derive(Default)]
struct Turn {
    /// With its escapes.
    text: String,
    calls: Vec<String>,
}

impl Conversation {
    /// Reads the system prompt and the messages. `is_whole`: every call of a tool has its result, as for a model that answers.
    pub(super) fn read(top: &Members<'_>, is_whole: bool) -> Result<Self, Mistake> {
        let mut conversation = Self { json: "[".to_owned(), ..Self::default() };
        if let Some(system) = top.get("system") {
            conversation.system(system).map_err(|mistake| mistake.below("system"))?;
        }
        let messages = expect(top, "messages", Kind::Array)?.items();
        if messages.is_empty() {
            return Err(wrong("messages", "at least one message", "an empty array"));
        }
        for (i, message) in messages.into_iter().enumerate() {
            let read = conversation.message(message, is_whole.then_some(i));
            read.map_err(|mistake| mistake.below(format_args!("messages[{i}]")))?;
        }
        conversation.pairs.end()?;
        conversation.push_late();
        conversation.end_turn();
        if conversation.json.len() == 1 {
            return Err(wrong("messages", "a message with content", "none"));
        }
        conversation.json.push(']');
        Ok(conversation)
    }

    /// A system prompt becomes one text: some providers take no list there.
    fn system(&mut self, content: View<'_>) -> Result<(), Mistake> {
        let text = text_of(content)?;
        if !text.is_empty() {
            self.push("system", &format!("\"content\":\"{text}\""));
        }
        Ok(())
    }

    /// Adds a message. `position`: its calls of tools and their results are paired.
    fn message(&mut self, message: View<'_>, position: Option<usize>) -> Result<(), Mistake> {
        if message.kind != Kind::Object {
            return Err(wrong("", "an object", message));
        }
        let members = message.members();
        let role = expect(&members, "role", Kind::String)?;
        let content = members.get("content").ok_or_else(|| Mistake::missing("content"))?;
        let within = |mistake: Mistake| mistake.below("content");
        match role.raw {
            "\"assistant\"" => {
                self.pairs.assistant()?;
                self.push_late();
            }
            _ => self.pairs.user(),
        }
        match (role.raw, content.kind) {
            ("\"system\"", _) => self.system(content).map_err(within),
            ("\"user\"", Kind::String) => {
                self.push("user", &format!("\"content\":{}", content.raw));
                Ok(())
            }
            ("\"assistant\"", Kind::String) => {
                self.say(content.escaped().unwrap_or_default(), Vec::new());
                Ok(())
            }
            ("\"user\"", Kind::Array) => self.user(content, position.is_some()),
            ("\"assistant\"", Kind::Array) => self.assistant(content, position),
            ("\"user\"" | "\"assistant\"", _) => Err(wrong("content", "a string or an array of blocks", content)),
            _ => Err(wrong("role", "`user`, `assistant` or `system`", role)),
        }
    }

    /// Results of tools come first, as messages of their own, because they must follow the calls.
    fn user(&mut self, content: View<'_>, is_paired: bool) -> Result<(), Mistake> {
        let mut parts = Parts::default();
        for (j, block) in content.items().into_iter().enumerate() {
            let within = |mistake: Mistake| mistake.below(format_args!("content[{j}]"));
            let members = block_members(block).map_err(within)?;
            let kind = expect(&members, "type", Kind::String).map_err(within)?;
            match kind.raw {
                "\"tool_result\"" => {
                    self.tool_result(&members, &mut parts, is_paired).map_err(within)?;
                }
                _ => parts.block(kind, &members, &mut self.dropped).map_err(within)?,
            }
        }
        if !parts.is_empty() {
            self.push("user", &format!("\"content\":{}", parts.json()));
        }
        Ok(())
    }

    fn tool_result(&mut self, members: &Members<'_>, after: &mut Parts, is_paired: bool) -> Result<(), Mistake> {
        let written = expect(members, "tool_use_id", Kind::String)?.string().unwrap_or_default();
        let id = tool_id::restore(&written).0;
        let is_error = optional(members, "is_error", Kind::Bool)?.and_then(View::bool).unwrap_or_default();
        let mut parts = Parts::default();
        match members.get("content") {
            None => {}
            Some(content) if content.kind == Kind::String => parts.text(content.escaped().unwrap_or_default()),
            Some(content) if content.kind == Kind::Array => {
                for (k, block) in content.items().into_iter().enumerate() {
                    let within = |mistake: Mistake| mistake.below(format_args!("content[{k}]"));
                    let inner = block_members(block).map_err(within)?;
                    let kind = expect(&inner, "type", Kind::String).map_err(within)?;
                    parts.block(kind, &inner, &mut self.dropped).map_err(within)?;
                }
            }
            Some(other) => return Err(wrong("content", "a string or an array of blocks", other)),
        }
        let mut text = parts.take_text();
        if is_error && !text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error")) {
            text.insert_str(0, if text.is_empty() { "Error" } else { "Error: " });
        }
        // A tool's message holds only text, so that pictures follow in the next message.
        if let Some(media) = parts.take_media() {
            if !text.is_empty() {
                text.push_str("\\n");
            }
            text.push_str("[The images of this result follow in the next message.]");
            let mut label = "Images of the result of tool call ".to_owned();
            push_escaped(&mut label, &id);
            label.push(':');
            after.text(&label);
            after.media(media);
        }
        if is_paired {
            self.pairs.answered(&written)?;
        }
        let mut escaped_id = String::new();
        push_escaped(&mut escaped_id, &id);
        self.push_now("tool", &format!("\"tool_call_id\":\"{escaped_id}\",\"content\":\"{text}\""));
        Ok(())
    }

    fn assistant(&mut self, content: View<'_>, position: Option<usize>) -> Result<(), Mistake> {
        let (mut text, mut calls) = (Parts::default(), Vec::new());
        for (j, block) in content.items().into_iter().enumerate() {
            let within = |mistake: Mistake| mistake.below(format_args!("content[{j}]"));
            let members = block_members(block).map_err(within)?;
            let kind = expect(&members, "type", Kind::String).map_err(within)?;
            match kind.raw {
                "\"tool_use\"" => {
                    calls.push(call(&members).map_err(within)?);
                    if let Some(i) = position {
                        let id = members.get("id").and_then(View::string).unwrap_or_default();
                        self.pairs.called(id.into_owned(), format!("messages[{i}].content[{j}]"));
                    }
                }
                // Only the model that thought can use its thoughts, and chat completions do not take them back.
                "\"thinking\"" | "\"redacted_thinking\"" => {}
                _ => text.block(kind, &members, &mut self.dropped).map_err(within)?,
            }
            if text.has_media() {
                return Err(within(wrong("type", "a block that an assistant can write", kind)));
            }
        }
        self.say(&text.take_text(), calls);
        Ok(())
    }

    /// Adds to the assistant's turn.
    fn say(&mut self, text: &str, calls: Vec<String>) {
        if !text.is_empty() {
            if !self.turn.text.is_empty() {
                self.turn.text.push_str(BREAK);
            }
            self.turn.text.push_str(text);
        }
        self.turn.calls.extend(calls);
    }

    fn end_turn(&mut self) {
        let Turn { text, calls } = std::mem::take(&mut self.turn);
        let content = if text.is_empty() { "null".to_owned() } else { format!("\"{text}\"") };
        if !calls.is_empty() {
            self.write("assistant", &format!("\"content\":{content},\"tool_calls\":[{}]", calls.join(",")));
        } else if !text.is_empty() {
            self.write("assistant", &format!("\"content\":{content}"));
        }
    }

    /// Adds a message, behind the results that are still to come.
    fn push(&mut self, role: &'static str, rest: &str) {
        if self.pairs.are_open() {
            self.late.push((role, rest.to_owned()));
            return;
        }
        self.push_late();
        self.push_now(role, rest);
    }

    fn push_late(&mut self) {
        for (role, rest) in std::mem::take(&mut self.late) {
            self.push_now(role, &rest);
        }
    }

    /// Adds a message behind the assistant's turn.
    fn push_now(&mut self, role: &str, rest: &str) {
        self.end_turn();
        self.write(role, rest);
    }

    fn write(&mut self, role: &str, rest: &str) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        for part in ["{\"role\":\"", role, "\",", rest, "}"] {
            self.json.push_str(part);
        }
    }
}

/// A tool call of the history.
fn call(members: &Members<'_>) -> Result<String, Mistake> {
    let id = expect(members, "id", Kind::String)?.string().unwrap_or_default();
    let name = expect(members, "name", Kind::String)?;
    let input = optional(members, "input", Kind::Object)?.map_or("{}", |input| input.raw);
    let (id, signature) = tool_id::restore(&id);
    let mut json = "{\"id\":\"".to_owned();
    push_escaped(&mut json, &id);
    json.push_str("\",\"type\":\"function\",\"function\":{\"name\":\"");
    push_escaped(&mut json, &tool_name::chat_name(&name.string().unwrap_or_default()));
    json.push_str("\",\"arguments\":\"");
    push_escaped(&mut json, input);
    json.push_str("\"}");
    if let Some(signature) = signature {
        json.push_str(",\"extra_content\":{\"google\":{\"thought_signature\":\"");
        push_escaped(&mut json, &signature);
        json.push_str("\"}}");
    }
    json.push('}');
    Ok(json)
}

/// A system prompt without the line for Anthropic's accounts.
fn without_billing_line(escaped: &str) -> &str {
    if !escaped.starts_with(BILLING_LINE) {
        return escaped;
    }
    escaped.split_once("\\n").map_or("", |(_, prompt)| prompt)
}

fn block_members(block: View<'_>) -> Result<Members<'_>, Mistake> {
    if block.kind == Kind::Object { Ok(block.members()) } else { Err(wrong("", "an object", block)) }
}

/// The text of a system prompt, or the texts of its blocks, with their escapes.
fn text_of(content: View<'_>) -> Result<String, Mistake> {
    match content.kind {
        Kind::String => Ok(without_billing_line(content.escaped().unwrap_or_default()).to_owned()),
        Kind::Array => {
            let mut parts = Parts::default();
            for (k, block) in content.items().into_iter().enumerate() {
                let within = |mistake: Mistake| mistake.below(format_args!("[{k}]"));
                let members = block_members(block).map_err(within)?;
                let kind = expect(&members, "type", Kind::String).map_err(within)?;
                if kind.raw != "\"text\"" {
                    return Err(within(wrong("type", "`text`", kind)));
                }
                let text = expect(&members, "text", Kind::String).map_err(within)?.escaped().unwrap_or_default();
                parts.text(without_billing_line(text));
            }
            Ok(parts.take_text())
        }
        _ => Err(wrong("", "a string or an array of text blocks", content)),
    }
}
