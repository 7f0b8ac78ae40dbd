//! One tool call of a response, in the kind in which its tool was declared.

use std::io::Write as _;

use serde::de::IgnoredAny;

use super::{
    custom_input::InputReader,
    events::Events,
    object::{quoted, write_string},
    tools::{Tool, ToolKind},
};

#[derive(Debug)]
pub(super) struct OpenCall {
    /// Its index in the chat completion.
    pub index: usize,
    call_id: String,
    /// As the provider writes them, so far.
    arguments: String,
    /// `None` until the name of the tool is known.
    item: Option<CallItem>,
    pub is_closed: bool,
}

#[derive(Debug)]
struct CallItem {
    output_index: usize,
    id: String,
    tool: Tool,
    input: InputReader,
    /// Bytes of the arguments that events have carried.
    sent: usize,
}

impl ToolKind {
    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Function => "fc",
            Self::Custom => "ctc",
            Self::Search => "tsc",
        }
    }
}

impl Tool {
    /// A function that the request does not declare. Models make up names.
    pub(super) fn unknown(chat_name: &str) -> Self {
        let name = chat_name.to_owned();
        Self { chat_name: name.clone(), name, namespace: None, kind: ToolKind::Function }
    }
}

impl OpenCall {
    pub(super) fn new(index: usize, call_id: String) -> Self {
        Self { index, call_id, arguments: String::new(), item: None, is_closed: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.item.is_some()
    }

    pub(super) fn open(&mut self, output_index: usize, id: String, tool: Tool) {
        self.item = Some(CallItem { output_index, id, tool, input: InputReader::default(), sent: 0 });
    }

    /// Whether the arguments are whole JSON.
    pub(super) fn is_complete(&self) -> bool {
        let arguments = self.arguments.trim();
        arguments.ends_with('}') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
    }

    /// Adds a fragment of the arguments.
    pub(super) fn push(&mut self, fragment: &str, events: &mut Events, out: &mut Vec<u8>) {
        self.arguments.push_str(fragment);
        let Some(item) = &mut self.item else { return };
        let unsent = &self.arguments[item.sent..];
        if unsent.is_empty() {
            return;
        }
        item.sent = self.arguments.len();
        match item.tool.kind {
            ToolKind::Function | ToolKind::Search => item.delta(unsent, events, out),
            ToolKind::Custom => {
                let input = item.input.push(unsent).to_owned();
                item.delta(&input, events, out);
            }
        }
    }

    /// The JSON of the item, with the arguments or the input that it has.
    pub(super) fn item(&self, status: &str, payload: &str) -> String {
        let Some(CallItem { id, tool, .. }) = &self.item else { return "null".to_owned() };
        let (kind, member) = match tool.kind {
            ToolKind::Function => ("function_call", "arguments"),
            ToolKind::Custom => ("custom_tool_call", "input"),
            ToolKind::Search => {
                let (call_id, arguments) = (quoted(&self.call_id), search_arguments(payload));
                return format!(
                    "{{\"type\":\"tool_search_call\",\"id\":\"{id}\",\"status\":\"{status}\",\"call_id\":{call_id},\"execution\":\"client\",\"arguments\":{arguments}}}"
                );
            }
        };
        let (call_id, name, payload) = (quoted(&self.call_id), quoted(&tool.name), quoted(payload));
        let namespace = tool.namespace.as_deref().map_or_else(String::new, |n| format!(",\"namespace\":{}", quoted(n)));
        format!(
            "{{\"type\":\"{kind}\",\"id\":\"{id}\",\"status\":\"{status}\",\"call_id\":{call_id},\"name\":{name}{namespace},\"{member}\":{payload}}}"
        )
    }

    /// Ends the call. Returns its index and its JSON.
    pub(super) fn close(&mut self, status: &str, events: &mut Events, out: &mut Vec<u8>) -> (usize, String) {
        self.is_closed = true;
        let Some(item) = &mut self.item else { return (0, "null".to_owned()) };
        let payload = match item.tool.kind {
            ToolKind::Function | ToolKind::Search => self.arguments.clone(),
            ToolKind::Custom => {
                let (input, unsent) = std::mem::take(&mut item.input).finish(&self.arguments);
                item.delta(&unsent, events, out);
                input
            }
        };
        item.done(&payload, events, out);
        let output_index = item.output_index;
        let json = self.item(status, &payload);
        events.item("done", output_index, &json, out);
        (output_index, json)
    }
}

/// The arguments of a search, which are JSON and no text.
fn search_arguments(arguments: &str) -> &str {
    if serde_json::from_str::<IgnoredAny>(arguments).is_ok() { arguments } else { "{}" }
}

impl CallItem {
    fn place(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(out, ",\"item_id\":\"{}\",\"output_index\":{}", self.id, self.output_index);
    }

    fn delta(&self, delta: &str, events: &mut Events, out: &mut Vec<u8>) {
        let kind = match self.tool.kind {
            ToolKind::Function => "response.function_call_arguments.delta",
            ToolKind::Custom => "response.custom_tool_call_input.delta",
            // Its arguments come with the whole item.
            ToolKind::Search => return,
        };
        if delta.is_empty() {
            return;
        }
        events.begin(kind, out);
        self.place(out);
        out.extend_from_slice(b",\"delta\":");
        write_string(delta, out);
        events.end(out);
    }

    fn done(&self, payload: &str, events: &mut Events, out: &mut Vec<u8>) {
        match self.tool.kind {
            ToolKind::Function => {
                events.begin("response.function_call_arguments.done", out);
                self.place(out);
                out.extend_from_slice(b",\"name\":");
                write_string(&self.tool.name, out);
                out.extend_from_slice(b",\"arguments\":");
            }
            ToolKind::Custom => {
                events.begin("response.custom_tool_call_input.done", out);
                self.place(out);
                out.extend_from_slice(b",\"input\":");
            }
            ToolKind::Search => return,
        }
        write_string(payload, out);
        events.end(out);
    }
}
