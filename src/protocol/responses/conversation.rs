//! The conversation of a request: input items as the messages of a chat completion.
//!
//! Items are flat where chat messages are nested. Text and calls of one answer become one assistant message, and the output of
//! a call follows the message that made it, wherever the input has it.

use super::{
    content::Content,
    node::{Members, Node},
    seal::{SealedFor, Sealer},
    stored,
    tools::{CUSTOM_INPUT, SEARCH, ToolKind, Tools, chat_name},
    transcript::{self, Call, Entry, Turn},
};
use crate::protocol::BadRequest;

const ITEMS: &str = "`message`, `agent_message`, `function_call`, `function_call_output`, `custom_tool_call`, \
                     `custom_tool_call_output`, `tool_search_call`, `tool_search_output`, `reasoning`, `item_reference`, \
                     `additional_tools`, `compaction` or `compaction_trigger`";
const ROLES: &str = "`user`, `assistant`, `system` or `developer`";

/// Items of tools that only OpenAI's own servers run, and those that Codex keeps for itself. They are left out of the history.
const HOSTED_ITEMS: [&str; 19] = [
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "configuration_update",
    "context_compaction",
    "file_search_call",
    "ghost_snapshot",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "shell_call",
    "shell_call_output",
    "web_search_call",
];

/// Stands before the summary that replaces an earlier part of the conversation.
const SUMMARY_INTRODUCTION: &str =
    "The earlier part of this conversation was replaced by this summary of it. Continue from here.\\n\\n";

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
            "agent_message" => self.agent_message(&members),
            "function_call" => self.call(&members, ToolKind::Function),
            "custom_tool_call" => self.call(&members, ToolKind::Custom),
            "tool_search_call" => self.search(&members),
            "function_call_output" | "custom_tool_call_output" => self.output(&members),
            "tool_search_output" => self.found(&members, tools),
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

    /// What another agent of the client says. Words sealed by OpenAI cannot be read.
    fn agent_message(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let mut words = members.text("author")?.map_or_else(String::new, |author| format!("{}:", author.raw));
        for part in members.need("content")?.items()? {
            if let Some(text) = part.members()?.text("text")? {
                words.push_str(if words.is_empty() { "" } else { "\\n\\n" });
                words.push_str(text.raw);
            }
        }
        self.push_message("user", &format!("\"{words}\""));
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
            ToolKind::Function | ToolKind::Search => match members.need("arguments")?.string()?.raw {
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

    /// A search of the client for further tools. One that OpenAI's servers ran has no id, and is left out.
    fn search(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let Some(id) = members.text("call_id")? else { return Ok(()) };
        let arguments = nested(members.get("arguments").map_or("{}", Node::raw));
        let json = format!(
            "{{\"id\":\"{0}\",\"type\":\"function\",\"function\":{{\"name\":\"{SEARCH}\",\"arguments\":\"{arguments}\"}}}}",
            id.raw
        );
        let missing = members.need("call_id")?.invalid(format!("No output found for the tool search {}.", id.raw));
        self.turn().calls.push(Call { id: id.raw.to_owned(), json, output: None, missing });
        Ok(())
    }

    /// The tools that a search has found, which can be called from here on.
    fn found(&mut self, members: &Members<'s>, tools: &mut Tools<'s>) -> Result<(), BadRequest> {
        let list = members.need("tools")?;
        tools.declare(list)?;
        let Some(id) = members.text("call_id")? else { return Ok(()) };
        let mut names = Vec::new();
        for tool in list.items()? {
            names.extend(tool.members()?.text("name")?.map(|name| name.raw.to_owned()));
        }
        let text =
            if names.is_empty() { "No tool was found.".to_owned() } else { format!("Found: {}", names.join(", ")) };
        self.answer(id.raw, members.need("call_id")?, Content::text(&text))
    }

    fn output(&mut self, members: &Members<'_>) -> Result<(), BadRequest> {
        let id = members.need("call_id")?;
        let output = Content::read(members.need("output")?)?;
        self.answer(id.string()?.raw, id, output)
    }

    /// Adds the output of the latest call with this id that has none.
    fn answer(&mut self, wanted: &str, id: Node<'_>, output: Content) -> Result<(), BadRequest> {
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

    /// Leaves out the beginning, so that about this share of the text is kept.
    pub(super) fn truncate(&mut self, share: f64) {
        transcript::truncate(&mut self.entries, share);
    }

    /// Whether there is nothing to answer.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the list of messages.
    pub(super) fn write(self, out: &mut String) -> Result<(), BadRequest> {
        transcript::write(self.entries, self.lenient, out)
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
