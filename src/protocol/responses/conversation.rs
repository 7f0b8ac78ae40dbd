//! The conversation of a request: input items as the messages of a chat completion.
//!
//! Items are flat where chat messages are nested. Text and calls of one answer become one assistant message, and the output of
//! a call follows the message that made it, wherever the input has it.

use std::fmt::Write as _;

use super::{
    content::Content,
    node::{Members, Node},
    seal::{SealedFor, Sealer},
    stored,
    tools::{CUSTOM_INPUT, ToolKind, Tools, chat_name},
};
use crate::protocol::BadRequest;

const ITEMS: &str = "`message`, `function_call`, `function_call_output`, `custom_tool_call`, `custom_tool_call_output`, `reasoning`, \
                     `item_reference`, `additional_tools`, `compaction` or `compaction_trigger`";
const ROLES: &str = "`user`, `assistant`, `system` or `developer`";

/// Items of tools that only OpenAI's own servers run. They are left out of the history.
const HOSTED_ITEMS: [&str; 18] = [
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
];

/// Stands before the summary that replaces an earlier part of the conversation.
const SUMMARY_INTRODUCTION: &str =
    "The earlier part of this conversation was replaced by this summary of it. Continue from here.\\n\\n";

#[derive(Debug)]
enum Entry {
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
struct Turn {
    texts: Vec<String>,
    refusals: Vec<String>,
    reasoning: Vec<String>,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    /// As written between its quotes.
    id: String,
    json: String,
    output: Option<Content>,
    /// The path and the name of the item, for the error about a missing output.
    missing: BadRequest,
}

#[derive(Debug)]
pub(super) struct Conversation<'s> {
    /// Items of the store, by their ids.
    references: Vec<(&'s str, Node<'s>)>,
    entries: Vec<Entry>,
    /// Reasoning that belongs to the next answer.
    reasoning: Vec<String>,
    sealer: Option<&'s Sealer>,
    /// Calls without an output are accepted.
    pub lenient: bool,
    /// The input ends with a request to compact the conversation.
    pub compacts: bool,
    /// Types of items that were left out.
    pub dropped: Vec<String>,
}

impl<'s> Conversation<'s> {
    pub(super) fn new(sealer: Option<&'s Sealer>, references: Vec<(&'s str, Node<'s>)>) -> Self {
        Self {
            references,
            entries: Vec::new(),
            reasoning: Vec::new(),
            sealer,
            lenient: false,
            compacts: false,
            dropped: Vec::new(),
        }
    }

    /// Adds a message. `content` is JSON.
    pub(super) fn push_message(&mut self, role: &str, content: &str) {
        let json = format!("{{\"role\":\"{role}\",\"content\":{content}}}");
        self.entries.push(Entry::Message { json, is_user: role == "user" });
    }

    /// Adds one item of the input. Tools that it declares are added to `tools`.
    pub(super) fn item(&mut self, item: Node<'s>, tools: &mut Tools<'s>) -> Result<(), BadRequest> {
        let members = item.members()?;
        if let Some(id) = stored::reference(&members) {
            let known = self.references.iter().find(|(known, _)| *known == id).map(|(_, node)| *node);
            // An item of the store is no reference itself.
            return match known.filter(|node| node.members().is_ok_and(|m| stored::reference(&m).is_none())) {
                Some(node) => self.item(node, tools),
                None => Err(unresolved(item)),
            };
        }
        let kind = match members.get("type") {
            Some(kind) => kind,
            None if members.get("role").is_some() => return self.message(&members),
            None => members.need("type")?,
        };
        match kind.string()?.raw {
            "message" => self.message(&members),
            "function_call" => self.call(&members, ToolKind::Function),
            "custom_tool_call" => self.call(&members, ToolKind::Custom),
            "function_call_output" | "custom_tool_call_output" => self.output(&members),
            "reasoning" => self.reasoning(&members),
            "additional_tools" => tools.declare(members.need("tools")?),
            "compaction" | "compaction_summary" => self.summary(&members),
            "compaction_trigger" => {
                self.compacts = true;
                Ok(())
            }
            hosted if HOSTED_ITEMS.contains(&hosted) => {
                if !self.dropped.iter().any(|known| known == hosted) {
                    self.dropped.push(hosted.to_owned());
                }
                Ok(())
            }
            _ => Err(kind.wrong(ITEMS)),
        }
    }

    fn message(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let role = members.need("role")?;
        let content = Content::read(members.need("content")?)?;
        match role.string()?.raw {
            "user" => self.push_message("user", &content.json()),
            // Many servers take only strings here.
            "system" | "developer" if content.media.is_empty() => {
                self.push_message(role.string()?.raw, &content.joined_text());
            }
            "system" | "developer" => self.push_message(role.string()?.raw, &content.json()),
            "assistant" => {
                let turn = self.turn();
                turn.texts.extend(content.texts);
                turn.refusals.extend(content.refusals);
            }
            _ => return Err(role.wrong(ROLES)),
        }
        Ok(())
    }

    /// The answer that the next part of an answer belongs to.
    fn turn(&mut self) -> &mut Turn {
        let continues = match self.entries.last() {
            Some(Entry::Turn(turn)) => turn.calls.iter().all(|call| call.output.is_none()),
            _ => false,
        };
        if !continues {
            self.entries.push(Entry::Turn(Turn::default()));
        }
        let reasoning = std::mem::take(&mut self.reasoning);
        match self.entries.last_mut() {
            Some(Entry::Turn(turn)) => {
                turn.reasoning.extend(reasoning);
                turn
            }
            _ => unreachable!("the last entry is a turn"),
        }
    }

    fn call(&mut self, members: &Members<'_>, kind: ToolKind) -> Result<(), BadRequest> {
        let id = members.need("call_id")?.string()?.raw.to_owned();
        let name = members.need("name")?.string()?.decode();
        let namespace = members.text("namespace")?.map(|namespace| namespace.decode());
        let name = chat_name(namespace.as_deref(), &name);
        let arguments = match kind {
            ToolKind::Function => match members.need("arguments")?.string()?.raw {
                blank if blank.trim().is_empty() => "{}".to_owned(),
                arguments => arguments.to_owned(),
            },
            ToolKind::Custom => {
                let input = members.need("input")?.string()?.raw;
                nested(&format!("{{\"{CUSTOM_INPUT}\":\"{input}\"}}"))
            }
        };
        let json = format!(
            "{{\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}}}"
        );
        let missing = members.need("call_id")?.invalid(format!("No tool output found for function call {id}."));
        self.turn().calls.push(Call { id, json, output: None, missing });
        Ok(())
    }

    fn output(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let id = members.need("call_id")?;
        let output = Content::read(members.need("output")?)?;
        let wanted = id.string()?.raw;
        let turns = self.entries.iter_mut().rev().filter_map(|entry| match entry {
            Entry::Turn(turn) => Some(turn),
            Entry::Message { .. } => None,
        });
        let mut calls = turns.flat_map(|turn| turn.calls.iter_mut().rev());
        let call = calls.find(|call| call.id == wanted && call.output.is_none());
        let message = || format!("No tool call found for function call output with call_id {wanted}.");
        call.ok_or_else(|| id.invalid(message()))?.output = Some(output);
        Ok(())
    }

    /// Reasoning that the gateway sealed is returned to the model. Any other stays with its provider.
    fn reasoning(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        if let Some(sealed) = members.text("encrypted_content")?
            && let Some(text) = self.sealer.and_then(|sealer| sealer.open(&sealed.decode(), SealedFor::Reasoning))
        {
            self.reasoning.push(text);
        }
        Ok(())
    }

    fn summary(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let sealed = members.need("encrypted_content")?;
        let text = sealed.string()?.decode();
        let opened = self.sealer.and_then(|sealer| sealer.open(&text, SealedFor::Compaction));
        let Some(summary) = opened else {
            return Err(sealed.invalid(
                "This compaction cannot be opened: another server made it, or this gateway with another key \
                 (TOLLFREE_SEAL_KEY, else TOLLFREE_ADMIN_KEY)."
                    .to_owned(),
            ));
        };
        let summary = serde_json::Value::from(summary).to_string();
        self.push_message("user", &format!("\"{SUMMARY_INTRODUCTION}{}", &summary[1..]));
        Ok(())
    }

    /// Leaves out the beginning, so that about this share of the text is kept. Instructions and the end stay.
    pub(super) fn truncate(&mut self, share: f64) {
        let total: usize = self.entries.iter().map(Entry::size).sum();
        let mut excess = total as f64 * (1.0 - share);
        let mut left = self.entries.len();
        self.entries.retain(|entry| {
            left -= 1;
            let keeps = excess <= 0.0 || left == 0 || entry.is_instruction();
            if !keeps {
                excess -= entry.size() as f64;
            }
            keeps
        });
    }

    /// Whether there is nothing to answer.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the list of messages.
    pub(super) fn write(self, out: &mut String) -> Result<(), BadRequest> {
        let is_user = |entry: &Entry| matches!(entry, Entry::Message { is_user: true, .. });
        let last_user = self.entries.iter().rposition(is_user);
        let mut messages = Messages { out, separator: '[' };
        for (at, entry) in self.entries.into_iter().enumerate() {
            match entry {
                Entry::Message { json, .. } => messages.push(&json),
                // Reasoning matters while a turn is under way. Some providers refuse that of earlier turns.
                Entry::Turn(turn) => messages.turn(turn, last_user.is_none_or(|user| at > user), self.lenient)?,
            }
        }
        if messages.separator == '[' {
            messages.out.push('[');
        }
        messages.out.push(']');
        Ok(())
    }
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

fn unresolved(item: Node<'_>) -> BadRequest {
    item.invalid(
        "No stored item has this id. Items are stored only where the operator sets `[responses] store`; send the whole \
         item instead."
            .to_owned(),
    )
}

/// The text of a JSON value as it stands inside a JSON string.
fn nested(json: &str) -> String {
    json.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_with(items: &Value, sealer: Option<&Sealer>) -> Result<Value, BadRequest> {
        let text = json!({ "input": items }).to_string();
        let mut conversation = Conversation::new(sealer, Vec::new());
        let mut tools = Tools::default();
        for item in Node::root(&text)?.members()?.need("input")?.items()? {
            conversation.item(item, &mut tools)?;
        }
        let mut out = String::new();
        conversation.write(&mut out)?;
        Ok(serde_json::from_str(&out).unwrap())
    }

    fn read(items: &Value) -> Result<Value, BadRequest> {
        read_with(items, None)
    }

    fn call(id: &str) -> Value {
        json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"a\":\"b\"}"})
    }

    fn output(id: &str) -> Value {
        json!({"type": "function_call_output", "call_id": id, "output": id})
    }

    fn chat_call(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"b\"}"}})
    }

    fn tool(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": id})
    }

    #[test]
    fn text_and_calls_of_one_answer_become_one_message_followed_by_the_outputs() {
        let messages = read(&json!([
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
            {"role": "user", "content": "u"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "t"}]},
            call("1"), call("2"),
            {"role": "user", "content": "in between"},
            output("2"), output("1"),
            call("3"), output("3"),
            {"role": "assistant", "content": "done"},
        ]))
        .unwrap();
        let expected = json!([
            {"role": "developer", "content": "d"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "t", "tool_calls": [chat_call("1"), chat_call("2")]},
            tool("1"), tool("2"),
            {"role": "user", "content": "in between"},
            {"role": "assistant", "content": null, "tool_calls": [chat_call("3")]},
            tool("3"),
            {"role": "assistant", "content": "done"},
        ]);
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_custom_call_becomes_a_call_with_one_string() {
        let input = "*** Begin Patch\n\t\"quoted\" \\ \u{e9}";
        let messages = read(&json!([
            {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "namespace": "ns", "input": input},
            {"type": "custom_tool_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "ok"}]},
        ]))
        .unwrap();
        let function = &messages[0]["tool_calls"][0]["function"];
        assert_eq!(function["name"], "ns__apply_patch");
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "input": input }));
        assert_eq!(messages[1]["content"], "ok");
    }

    #[test]
    fn images_of_a_tool_follow_in_a_message_of_the_user() {
        let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA"});
        let output = json!({"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "seen"}, image]});
        let messages = read(&json!([call("1"), call("2"), output, self::output("2")])).unwrap();
        assert_eq!(messages[1], json!({"role": "tool", "tool_call_id": "1", "content": "seen"}));
        assert_eq!(messages[2], tool("2"));
        assert_eq!(messages[3]["role"], "user");
        assert_eq!(messages[3]["content"][1]["type"], "image_url");
    }

    #[test]
    fn repeated_call_ids_belong_to_the_latest_call() {
        let messages = read(&json!([call("1"), output("1"), call("1"), output("1")])).unwrap();
        assert_eq!(messages.as_array().unwrap().len(), 4);
        assert_eq!(messages[2]["tool_calls"][0], chat_call("1"));
    }

    #[test]
    fn summaries_and_reasoning_open_only_where_they_are_ours() {
        let sealer = Sealer::new(b"key").unwrap();
        let summary = sealer.seal("They \"fixed\" it.", SealedFor::Compaction).unwrap();
        let thought = sealer.seal("Hm.", SealedFor::Reasoning).unwrap();
        let reasoning = |sealed: &str| json!({"type": "reasoning", "summary": [], "encrypted_content": sealed});
        let items = json!([
            reasoning(&thought), {"role": "assistant", "content": "early"},
            {"type": "compaction", "encrypted_content": summary},
            reasoning(&thought), reasoning("gAAAA"), call("1"), output("1"),
        ]);
        let messages = read_with(&items, Some(&sealer)).unwrap();
        assert_eq!(messages[0].get("reasoning_content"), None, "reasoning of earlier turns is not needed");
        assert!(messages[1]["content"].as_str().unwrap().ends_with("\n\nThey \"fixed\" it."), "{messages}");
        assert_eq!(messages[2]["reasoning_content"], "Hm.");
        let bad = read(&items).unwrap_err();
        assert_eq!(bad.param.as_deref(), Some("input[2].encrypted_content"), "{}", bad.message);
    }

    #[test]
    fn a_wrong_item_is_refused_with_its_path() {
        for (item, param) in [
            (json!("x"), "input[0]"),
            (json!({"content": "x"}), "input[0].type"),
            (json!({"type": "smell"}), "input[0].type"),
            (json!({"role": "robot", "content": "x"}), "input[0].role"),
            (json!({"role": "user"}), "input[0].content"),
            (json!({"role": "user", "content": [{"type": "input_text", "text": 5}]}), "input[0].content[0].text"),
            (json!({"type": "function_call", "call_id": "1", "arguments": "{}"}), "input[0].name"),
            (json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": {}}), "input[0].arguments"),
            (call("1"), "input[0].call_id"),
            (output("1"), "input[0].call_id"),
            (json!({"type": "item_reference", "id": "msg_1"}), "input[0]"),
            (json!({"id": "msg_1"}), "input[0]"),
        ] {
            let bad = read(&json!([item])).unwrap_err();
            assert_eq!((bad.code, bad.param.as_deref()), ("invalid_value", Some(param)), "{}", bad.message);
        }
    }

    #[test]
    fn a_truncated_conversation_keeps_its_instructions_and_its_end() {
        let long = "x".repeat(1_000);
        let items = json!([
            {"role": "system", "content": long}, {"role": "user", "content": long},
            call("1"), {"role": "user", "content": long}, output("1"), {"role": "user", "content": "end"},
        ]);
        let text = json!({ "input": items }).to_string();
        let kept = |share: f64| {
            let mut conversation = Conversation::new(None, Vec::new());
            let items = Node::root(&text).unwrap().members().unwrap().need("input").unwrap().items().unwrap();
            for item in items {
                conversation.item(item, &mut Tools::default()).unwrap();
            }
            conversation.truncate(share);
            let mut out = String::new();
            conversation.write(&mut out).unwrap();
            let messages: Vec<Value> = serde_json::from_str(&out).unwrap();
            messages.iter().map(|message| message["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kept(0.8), ["system", "assistant", "tool", "user", "user"]);
        assert_eq!(kept(0.01), ["system", "user"]);
        assert_eq!(kept(1.0).len(), 6);
    }

    #[test]
    fn items_of_hosted_tools_are_left_out() {
        let messages =
            read(&json!([{"role": "user", "content": "x"}, {"type": "web_search_call", "id": "ws_1"}])).unwrap();
        assert_eq!(messages.as_array().unwrap().len(), 1);
    }
}
