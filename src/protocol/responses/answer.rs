//! The items of one response, from the chunks of a chat completion, with the events that announce them.

use std::io::Write as _;

use super::{calls::OpenCall, events::Events, object::quoted, reasoning::ReasoningForm, tools::Tool};
use crate::protocol::chat::{CallDelta, Chunk, ChunkUsage, Delta};

/// An item without its texts.
const ITEM_BYTES: usize = 256;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextKind {
    Reasoning,
    Text,
    Refusal,
}

/// A message or a reasoning item that is not complete yet. At most one is open.
#[derive(Debug)]
struct OpenText {
    output_index: usize,
    id: String,
    is_reasoning: bool,
    /// The JSON of the complete parts.
    parts: Vec<String>,
    part: Option<(TextKind, String)>,
}

/// The items so far.
#[derive(Debug)]
pub(super) struct Answer {
    key: String,
    pub events: Events,
    /// The JSON of each item by its index, empty while it is open.
    outputs: Vec<String>,
    text: Option<OpenText>,
    calls: Vec<OpenCall>,
    tools: Vec<Tool>,
    reasoning: ReasoningForm,
    /// Bytes of texts and arguments so far, and what their items take beside them.
    pub kept_bytes: usize,
    pub finish_reason: Option<String>,
    pub usage: Option<ChunkUsage>,
}

impl Answer {
    pub(super) fn new(key: String, tools: Vec<Tool>, reasoning: ReasoningForm) -> Self {
        Self {
            key,
            events: Events::default(),
            outputs: Vec::new(),
            text: None,
            calls: Vec::new(),
            tools,
            reasoning,
            kept_bytes: 0,
            finish_reason: None,
            usage: None,
        }
    }

    /// Adds one chunk, or a whole completion.
    pub(super) fn chunk(&mut self, chunk: Chunk, out: &mut Vec<u8>) {
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        // Only one choice is ever requested.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.delta(choice.delta, out);
            if let Some(reason) = choice.finish_reason {
                self.finish_reason = Some(reason);
            }
        }
    }

    fn delta(&mut self, mut delta: Delta, out: &mut Vec<u8>) {
        if let Some(reasoning) = delta.take_reasoning() {
            self.push_text(TextKind::Reasoning, &reasoning, out);
        }
        if let Some(content) = delta.content {
            self.push_text(TextKind::Text, &content, out);
        }
        if let Some(refusal) = delta.refusal {
            self.push_text(TextKind::Refusal, &refusal, out);
        }
        for (position, call) in delta.tool_calls.into_iter().enumerate() {
            self.push_call(call.index.unwrap_or(position), call, out);
        }
    }

    fn push_text(&mut self, kind: TextKind, delta: &str, out: &mut Vec<u8>) {
        if delta.is_empty() {
            return;
        }
        let is_reasoning = kind == TextKind::Reasoning;
        if self.text.as_ref().is_none_or(|text| text.is_reasoning != is_reasoning) {
            self.close_text("completed", out);
            self.close_calls(true, "completed", out);
            self.open_text(is_reasoning, out);
        }
        let Some(text) = &mut self.text else { return };
        if text.part.as_ref().is_some_and(|(open, _)| *open != kind) {
            close_part(text, &self.reasoning, &mut self.events, out);
        }
        if text.part.is_none() {
            open_part(text, kind, &self.reasoning, &mut self.events, out);
        }
        let name = match kind {
            TextKind::Reasoning => self.reasoning.delta_event(),
            TextKind::Text => "response.output_text.delta",
            TextKind::Refusal => "response.refusal.delta",
        };
        self.events.begin(name, out);
        place(text, &self.reasoning, out);
        out.extend_from_slice(b",\"delta\":");
        super::object::write_string(delta, out);
        if kind == TextKind::Text {
            out.extend_from_slice(b",\"logprobs\":[]");
        }
        self.events.end(out);
        if let Some((_, written)) = &mut text.part {
            written.push_str(delta);
            self.kept_bytes += delta.len();
        }
    }

    /// The next index and the id of a new item.
    fn new_item(&mut self, prefix: &str) -> (usize, String) {
        let output_index = self.outputs.len();
        self.outputs.push(String::new());
        self.kept_bytes += ITEM_BYTES;
        (output_index, format!("{prefix}_{}{output_index:04x}", self.key))
    }

    fn open_text(&mut self, is_reasoning: bool, out: &mut Vec<u8>) {
        let (output_index, id) = self.new_item(if is_reasoning { "rs" } else { "msg" });
        let item = if is_reasoning {
            self.reasoning.opened(&id)
        } else {
            format!(
                "{{\"type\":\"message\",\"id\":\"{id}\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}"
            )
        };
        self.events.item("added", output_index, &item, out);
        self.text = Some(OpenText { output_index, id, is_reasoning, parts: Vec::new(), part: None });
    }

    fn close_text(&mut self, status: &str, out: &mut Vec<u8>) {
        let Some(mut text) = self.text.take() else { return };
        close_part(&mut text, &self.reasoning, &mut self.events, out);
        let item = self.text_item(&text, status);
        self.events.item("done", text.output_index, &item, out);
        self.outputs[text.output_index] = item;
    }

    fn text_item(&self, text: &OpenText, status: &str) -> String {
        let (id, parts) = (&text.id, text.parts.join(","));
        if text.is_reasoning {
            return self.reasoning.closed(id, &parts, status);
        }
        format!(
            "{{\"type\":\"message\",\"id\":\"{id}\",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":[{parts}]}}"
        )
    }

    fn push_call(&mut self, index: usize, delta: CallDelta, out: &mut Vec<u8>) {
        let at = self.calls.iter().position(|call| call.index == index).unwrap_or_else(|| {
            self.close_text("completed", out);
            self.close_calls(true, "completed", out);
            let call_id = delta.id.clone().filter(|id| !id.is_empty());
            let call_id = call_id.unwrap_or_else(|| format!("call_{}{index:04x}", self.key));
            self.calls.push(OpenCall::new(index, call_id));
            self.calls.len() - 1
        });
        if self.calls[at].is_closed {
            return;
        }
        if let Some(name) = delta.function.name.filter(|name| !name.is_empty())
            && !self.calls[at].is_open()
        {
            self.open_call(at, &name, out);
        }
        self.kept_bytes += delta.function.arguments.len();
        self.calls[at].push(&delta.function.arguments, &mut self.events, out);
    }

    fn open_call(&mut self, at: usize, chat_name: &str, out: &mut Vec<u8>) {
        let tool = self.tools.iter().find(|tool| tool.chat_name == chat_name).cloned();
        let tool = tool.unwrap_or_else(|| Tool::unknown(chat_name));
        let (output_index, id) = self.new_item(tool.kind.id_prefix());
        self.calls[at].open(output_index, id, tool);
        self.events.item("added", output_index, &self.calls[at].item("in_progress", ""), out);
    }

    /// Closes the open calls; `only_complete` leaves those whose arguments are not whole JSON yet.
    fn close_calls(&mut self, only_complete: bool, status: &str, out: &mut Vec<u8>) {
        for at in 0..self.calls.len() {
            let call = &self.calls[at];
            if call.is_closed || only_complete && !(call.is_open() && call.is_complete()) {
                continue;
            }
            if !call.is_open() {
                // A call that never got a name.
                self.open_call(at, "", out);
            }
            let status = if self.calls[at].is_complete() { "completed" } else { status };
            let (output_index, item) = self.calls[at].close(status, &mut self.events, out);
            self.outputs[output_index] = item;
        }
    }

    /// Closes what is open. `status` is that of an item that the end has cut.
    pub(super) fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        self.close_text(status, out);
        self.close_calls(false, status, out);
    }

    /// Adds an item that is complete at once. `item` writes it with its id.
    pub(super) fn push_item(&mut self, prefix: &str, out: &mut Vec<u8>, item: impl FnOnce(&str) -> String) {
        let (output_index, id) = self.new_item(prefix);
        let item = item(&id);
        self.events.item("added", output_index, &item, out);
        self.events.item("done", output_index, &item, out);
        self.outputs[output_index] = item;
    }

    /// Ends a response that was cut: nothing more is announced, and open items stay as they are.
    pub(super) fn cut(&mut self) {
        if let Some(mut text) = self.text.take() {
            let mut unsent = Vec::new();
            close_part(&mut text, &self.reasoning, &mut Events::default(), &mut unsent);
            self.outputs[text.output_index] = self.text_item(&text, "incomplete");
        }
        for call in self.calls.iter_mut().filter(|call| call.is_open() && !call.is_closed) {
            let (output_index, item) = call.close("incomplete", &mut Events::default(), &mut Vec::new());
            self.outputs[output_index] = item;
        }
    }

    /// The JSON of each item.
    pub(super) fn outputs(&self) -> &[String] {
        &self.outputs
    }
}

/// The members that say which part of which item an event is about.
fn place(text: &OpenText, reasoning: &ReasoningForm, out: &mut Vec<u8>) {
    let index = if text.is_reasoning { reasoning.index_name() } else { "content_index" };
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        ",\"item_id\":\"{}\",\"output_index\":{},\"{index}\":{}",
        text.id,
        text.output_index,
        text.parts.len()
    );
}

fn part_json(kind: TextKind, text: &str, reasoning: &ReasoningForm) -> String {
    let text = quoted(text);
    match kind {
        TextKind::Reasoning => reasoning.part(&text),
        TextKind::Text => {
            format!("{{\"type\":\"output_text\",\"text\":{text},\"annotations\":[],\"logprobs\":[]}}")
        }
        TextKind::Refusal => format!("{{\"type\":\"refusal\",\"refusal\":{text}}}"),
    }
}

fn open_part(text: &mut OpenText, kind: TextKind, reasoning: &ReasoningForm, events: &mut Events, out: &mut Vec<u8>) {
    part_event(text, kind, "added", &part_json(kind, "", reasoning), reasoning, events, out);
    text.part = Some((kind, String::new()));
}

fn close_part(text: &mut OpenText, reasoning: &ReasoningForm, events: &mut Events, out: &mut Vec<u8>) {
    let Some((kind, written)) = text.part.take() else { return };
    let (name, member) = match kind {
        TextKind::Reasoning => (reasoning.done_event(), "text"),
        TextKind::Text => ("response.output_text.done", "text"),
        TextKind::Refusal => ("response.refusal.done", "refusal"),
    };
    events.begin(name, out);
    place(text, reasoning, out);
    let _ = write!(out, ",\"{member}\":");
    super::object::write_string(&written, out);
    if kind == TextKind::Text {
        out.extend_from_slice(b",\"logprobs\":[]");
    }
    events.end(out);
    let part = part_json(kind, &written, reasoning);
    part_event(text, kind, "done", &part, reasoning, events, out);
    text.parts.push(part);
}

fn part_event(
    text: &OpenText,
    kind: TextKind,
    what: &str,
    part: &str,
    reasoning: &ReasoningForm,
    events: &mut Events,
    out: &mut Vec<u8>,
) {
    let name = match (kind, what) {
        (TextKind::Reasoning, "added") => reasoning.part_events().0,
        (TextKind::Reasoning, _) => reasoning.part_events().1,
        (_, "added") => "response.content_part.added",
        _ => "response.content_part.done",
    };
    events.begin(name, out);
    place(text, reasoning, out);
    out.extend_from_slice(b",\"part\":");
    out.extend_from_slice(part.as_bytes());
    events.end(out);
}
