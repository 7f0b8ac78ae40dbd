//! Tools and the choice among them.

use super::mistake::{Mistake, expect, optional, wrong};
use crate::{
    json::Kind,
    protocol::{
        json_view::{Members, View},
        tool_name::ChangedNames,
    },
};

/// The tools of a chat completion.
#[derive(Default)]
pub(super) struct Tools {
    /// Top-level members of the chat completion.
    pub members: Vec<(&'static str, String)>,
    /// Types of tools that only Anthropic's own servers run.
    pub dropped: Vec<String>,
    pub changed: ChangedNames,
    /// As the client writes them.
    names: Vec<String>,
}

impl Tools {
    pub(super) fn read(top: &Members<'_>) -> Result<Self, Mistake> {
        let mut tools = Self::default();
        let mut functions = Vec::new();
        if let Some(list) = optional(top, "tools", Kind::Array)? {
            for (i, tool) in list.items().into_iter().enumerate() {
                let within = |mistake: Mistake| mistake.below(format_args!("tools[{i}]"));
                functions.extend(tools.tool(tool).map_err(within)?);
            }
        }
        if !functions.is_empty() {
            tools.members.push(("tools", format!("[{}]", functions.join(","))));
        }
        if let Some(choice) = optional(top, "tool_choice", Kind::Object)? {
            tools.choice(&choice.members()).map_err(|mistake| mistake.below("tool_choice"))?;
        }
        Ok(tools)
    }

    /// A function, or `None` for a tool that is left out.
    fn tool(&mut self, tool: View<'_>) -> Result<Option<String>, Mistake> {
        if tool.kind != Kind::Object {
            return Err(wrong("", "an object", tool));
        }
        let members = tool.members();
        let kind = optional(&members, "type", Kind::String)?.and_then(View::escaped).unwrap_or("custom");
        if kind != "custom" {
            self.dropped.push(kind.to_owned());
            return Ok(None);
        }
        let name = expect(&members, "name", Kind::String)?;
        if name.raw == "\"\"" {
            return Err(wrong("name", "a tool's name", "an empty string"));
        }
        let schema = expect(&members, "input_schema", Kind::Object)?;
        let chat_name = self.changed.change(&name.string().unwrap_or_default());
        let mut json = format!("{{\"type\":\"function\",\"function\":{{\"name\":\"{chat_name}\"");
        if let Some(description) = optional(&members, "description", Kind::String)? {
            json.push_str(",\"description\":");
            json.push_str(description.raw);
        }
        json.push_str(",\"parameters\":");
        json.push_str(schema.raw);
        json.push_str("}}");
        self.names.push(name.raw.to_owned());
        Ok(Some(json))
    }

    fn choice(&mut self, members: &Members<'_>) -> Result<(), Mistake> {
        let kind = expect(members, "type", Kind::String)?;
        let is_sequential =
            optional(members, "disable_parallel_tool_use", Kind::Bool)?.and_then(View::bool).unwrap_or_default();
        let choice = match kind.raw {
            "\"auto\"" => None,
            "\"none\"" => Some("\"none\"".to_owned()),
            "\"any\"" if self.names.is_empty() => {
                return Err(Mistake::unsupported(
                    "type",
                    "a tool is demanded, but the request has none that is served here.",
                ));
            }
            "\"any\"" => Some("\"required\"".to_owned()),
            "\"tool\"" => {
                let name = expect(members, "name", Kind::String)?;
                if !self.names.iter().any(|known| known == name.raw) {
                    return Err(wrong("name", "the name of a tool of this request that is served here", name));
                }
                let chat_name = self.changed.change(&name.string().unwrap_or_default());
                Some(format!("{{\"type\":\"function\",\"function\":{{\"name\":\"{chat_name}\"}}}}"))
            }
            _ => return Err(wrong("type", "`auto`, `any`, `tool` or `none`", kind)),
        };
        if self.names.is_empty() {
            return Ok(());
        }
        self.members.extend(choice.map(|choice| ("tool_choice", choice)));
        if is_sequential {
            self.members.push(("parallel_tool_calls", "false".to_owned()));
        }
        Ok(())
    }
}
