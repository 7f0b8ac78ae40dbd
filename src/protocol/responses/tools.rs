//! Tools: as the request declares them, as functions of a chat completion, and back.

use std::borrow::Cow;

use super::node::{Members, Node};
use crate::{
    json::{Kind, Text},
    protocol::{BadRequest, tool_name},
};

/// Parameters of a function that declares none.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;
/// The name of the search for further tools.
pub(super) const SEARCH: &str = "tool_search";
const SEARCH_PARAMETERS: &str =
    r#"{"type":"object","properties":{"query":{"type":"string"},"limit":{"type":"integer"}},"required":["query"]}"#;
/// The one member of a custom tool's arguments.
pub(super) const CUSTOM_INPUT: &str = "input";

/// The kind in which a tool was declared, and in which a call of it is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolKind {
    Function,
    /// Takes free text. Providers know it as a function with one string.
    Custom,
    /// The client's own search for further tools.
    Search,
}

/// A declared tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// Its name in the chat completion.
    pub chat_name: String,
    pub name: String,
    pub namespace: Option<String>,
    pub kind: ToolKind,
}

/// The tools of one request.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    declared: Vec<(Tool, Node<'a>)>,
    /// The types of tools that only OpenAI's own servers run.
    pub hosted: Vec<String>,
}

/// What `tool_choice` means for the chat completion.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The value of the chat completion's `tool_choice`.
    pub json: Option<String>,
    /// The chat names of the only tools that may be called.
    pub allowed: Option<Vec<String>>,
}

/// The name of a tool as a function of the chat completion: `ns__tool`.
pub(super) fn chat_name(namespace: Option<&str>, name: &str) -> String {
    let full = namespace.map_or(Cow::Borrowed(name), |namespace| Cow::Owned(format!("{namespace}__{name}")));
    tool_name::chat_name(&full).into_owned()
}

impl<'a> Tools<'a> {
    /// Adds the tools of a list. Of tools with one name the first counts.
    pub(super) fn declare(&mut self, list: Node<'a>) -> Result<(), BadRequest> {
        list.items()?.into_iter().try_for_each(|tool| self.declare_one(tool, None))
    }

    fn declare_one(&mut self, tool: Node<'a>, namespace: Option<&str>) -> Result<(), BadRequest> {
        let members = tool.members()?;
        let kind = members.need("type")?.string()?;
        let kind = match kind.raw {
            "function" => ToolKind::Function,
            "custom" => ToolKind::Custom,
            "tool_search" if namespace.is_none() && is_run_by_client(&members)? => {
                self.add(
                    Tool { chat_name: SEARCH.into(), name: SEARCH.into(), namespace: None, kind: ToolKind::Search },
                    tool,
                );
                return Ok(());
            }
            "namespace" if namespace.is_none() => {
                let name = name_of(&members)?;
                return members.need("tools")?.items()?.into_iter().try_for_each(|t| self.declare_one(t, Some(&name)));
            }
            hosted => {
                if !self.hosted.iter().any(|known| known == hosted) {
                    self.hosted.push(hosted.to_owned());
                }
                return Ok(());
            }
        };
        let name = name_of(&members)?;
        if let Some(parameters) = members.get("parameters")
            && parameters.kind() != Kind::Object
        {
            return Err(parameters.wrong("an object"));
        }
        let chat_name = chat_name(namespace, &name);
        self.add(Tool { chat_name, name, namespace: namespace.map(str::to_owned), kind }, tool);
        Ok(())
    }

    /// A tool whose chat name is taken by another one, such as `b__c` in `a` beside `c` in `a__b`, gets a number behind it.
    fn add(&mut self, mut tool: Tool, node: Node<'a>) {
        let is_same = |known: &Tool| known.name == tool.name && known.namespace == tool.namespace;
        if self.declared.iter().any(|(known, _)| is_same(known)) {
            return;
        }
        let plain = tool.chat_name.clone();
        for number in 2.. {
            if self.declared.iter().all(|(known, _)| known.chat_name != tool.chat_name) {
                break;
            }
            tool.chat_name = chat_name(None, &format!("{plain}_{number}"));
        }
        self.declared.push((tool, node));
    }

    /// Reads `tool_choice`.
    pub(super) fn choice(&self, choice: Node<'a>) -> Result<Choice, BadRequest> {
        if choice.kind() == Kind::String {
            return match choice.string()?.raw {
                "auto" => Ok(Choice::default()),
                "none" => Ok(Choice { json: Some("\"none\"".to_owned()), allowed: None }),
                "required" if self.declared.is_empty() => Err(self.unavailable(choice)),
                "required" => Ok(Choice { json: Some("\"required\"".to_owned()), allowed: None }),
                _ => Err(choice.wrong("`auto`, `none`, `required` or an object")),
            };
        }
        let members = choice.members()?;
        let kind = members.need("type")?;
        match kind.string()?.raw {
            "function" | "custom" => {
                let chosen = self.find(&members)?;
                Ok(Choice { json: Some(function_choice(chosen)), allowed: None })
            }
            "allowed_tools" => self.allowed(choice, &members),
            hosted => Err(kind.invalid(format!(
                "`{hosted}` is a tool of OpenAI's own servers, which no provider here runs; only function and custom tools can be \
                 chosen."
            ))),
        }
    }

    fn allowed(&self, choice: Node<'a>, members: &Members<'a>) -> Result<Choice, BadRequest> {
        let mut allowed = Vec::new();
        for tool in members.need("tools")?.items()? {
            let members = tool.members()?;
            if matches!(members.need("type")?.string()?.raw, "function" | "custom") {
                allowed.push(self.find(&members)?.to_owned());
            }
        }
        let json = match members.text("mode")?.map(|mode| mode.raw) {
            None | Some("auto") => None,
            Some("none") => Some("\"none\"".to_owned()),
            Some("required") if allowed.is_empty() => return Err(self.unavailable(choice)),
            Some("required") => Some("\"required\"".to_owned()),
            Some(_) => return Err(members.need("mode")?.wrong("`auto`, `none` or `required`")),
        };
        Ok(Choice { json, allowed: Some(allowed) })
    }

    /// The chat name of the tool that an object names.
    fn find(&self, members: &Members<'a>) -> Result<&str, BadRequest> {
        let name = members.need("name")?;
        let wanted = name.string()?.decode();
        let namespace = members.text("namespace")?.map(|namespace| namespace.decode());
        let is_exact = |tool: &&Tool| tool.name == wanted && tool.namespace.as_deref() == namespace.as_deref();
        let is_alike = |tool: &&Tool| tool.chat_name == wanted || namespace.is_none() && tool.name == wanted;
        let mut tools = self.declared.iter().map(|(tool, _)| tool);
        let found = tools.clone().find(is_exact).or_else(|| tools.find(is_alike));
        found.map(|tool| &*tool.chat_name).ok_or_else(|| name.invalid(format!("`{wanted}` is not among the tools.")))
    }

    fn unavailable(&self, choice: Node<'_>) -> BadRequest {
        let message = if self.hosted.is_empty() {
            "The request demands a tool call but declares no tool.".to_owned()
        } else {
            let hosted = self.hosted.join("`, `");
            format!(
                "The request demands a tool call, but `{hosted}` run only on OpenAI's own servers and no other tool is declared."
            )
        };
        choice.invalid(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    /// Writes the list of the chat completion's tools. `false`: there is none, and nothing was written.
    pub(super) fn write(&self, allowed: Option<&[String]>, out: &mut String) -> Result<bool, BadRequest> {
        let is_allowed = |tool: &Tool| allowed.is_none_or(|names| names.contains(&tool.chat_name));
        let mut separator = "[";
        for (tool, node) in self.declared.iter().filter(|(tool, _)| is_allowed(tool)) {
            out.push_str(separator);
            separator = ",";
            let members = node.members()?;
            out.push_str(r#"{"type":"function","function":{"name":""#);
            out.push_str(&tool.chat_name);
            out.push('"');
            match tool.kind {
                ToolKind::Function => write_function(&members, NO_PARAMETERS, out)?,
                ToolKind::Search => write_function(&members, SEARCH_PARAMETERS, out)?,
                ToolKind::Custom => write_custom(&members, out)?,
            }
            out.push_str("}}");
        }
        let any = separator == ",";
        if any {
            out.push(']');
        }
        Ok(any)
    }

    /// The declarations, without the request's text.
    pub(super) fn into_table(self) -> Vec<Tool> {
        self.declared.into_iter().map(|(tool, _)| tool).collect()
    }
}

fn name_of(members: &Members<'_>) -> Result<String, BadRequest> {
    let node = members.need("name")?;
    let name = node.string()?.decode().into_owned();
    if name.is_empty() { Err(node.wrong("a tool's name")) } else { Ok(name) }
}

fn function_choice(chat_name: &str) -> String {
    format!(r#"{{"type":"function","function":{{"name":"{chat_name}"}}}}"#)
}

/// Whether the client runs the tool, and not OpenAI's servers.
fn is_run_by_client(members: &Members<'_>) -> Result<bool, BadRequest> {
    Ok(members.text("execution")?.is_some_and(|execution| execution.raw == "client"))
}

/// `parameters`: of a tool that declares none.
fn write_function(members: &Members<'_>, parameters: &str, out: &mut String) -> Result<(), BadRequest> {
    if let Some(description) = members.get("description") {
        description.string()?;
        out.push_str(",\"description\":");
        out.push_str(description.raw());
    }
    out.push_str(",\"parameters\":");
    out.push_str(members.get("parameters").map_or(parameters, Node::raw));
    if let Some(strict) = members.get("strict")
        && strict.boolean()?
    {
        out.push_str(",\"strict\":true");
    }
    Ok(())
}

/// A function with one string, whose description holds what the custom tool's format demands of it.
fn write_custom(members: &Members<'_>, out: &mut String) -> Result<(), BadRequest> {
    out.push_str(",\"description\":\"");
    if let Some(description) = members.text("description")? {
        out.push_str(description.raw);
        out.push_str("\\n\\n");
    }
    out.push_str("The argument `input` is the whole input as free text: not JSON, not quoted, without a code fence.");
    if let Some(format) = members.get("format") {
        let format = format.members()?;
        let text = |name| -> Result<Option<Text<'_>>, BadRequest> { format.text(name) };
        if let Some(definition) = text("definition")? {
            let syntax = text("syntax")?.map_or("", |syntax| syntax.raw);
            out.push_str(" It must match this grammar (");
            out.push_str(syntax);
            out.push_str("):\\n");
            out.push_str(definition.raw);
        }
    }
    out.push_str("\",\"parameters\":{\"type\":\"object\",\"properties\":{\"");
    out.push_str(CUSTOM_INPUT);
    out.push_str("\":{\"type\":\"string\"}},\"required\":[\"");
    out.push_str(CUSTOM_INPUT);
    out.push_str("\"],\"additionalProperties\":false}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn declared(list: &Value) -> (Tools<'static>, String) {
        let text: &'static str = Box::leak(list.to_string().into_boxed_str());
        let mut tools = Tools::default();
        tools.declare(Node::root(text).unwrap()).unwrap();
        let mut out = String::new();
        tools.write(None, &mut out).unwrap();
        (tools, out)
    }

    fn choice(tools: &Tools<'static>, choice: &Value) -> Result<Choice, BadRequest> {
        let text: &'static str = Box::leak(choice.to_string().into_boxed_str());
        tools.choice(Node::root(text).unwrap())
    }

    #[test]
    fn functions_custom_tools_and_namespaces_become_functions() {
        let (tools, written) = declared(&json!([
            {"type": "function", "name": "f", "description": "d", "parameters": {"z": 1, "a": 2}, "strict": true},
            {"type": "custom", "name": "apply_patch", "description": "Patches \"files\".",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"a\"\n"}},
            {"type": "namespace", "name": "ns", "description": "n", "tools": [
                {"type": "function", "name": "f", "parameters": null},
                {"type": "custom", "name": "run"},
            ]},
            {"type": "web_search"}, {"type": "web_search"}, {"type": "local_shell"},
            {"type": "function", "name": "f", "description": "again"},
        ]));
        assert_eq!(tools.hosted, ["web_search", "local_shell"]);
        let chat: Value = serde_json::from_str(&written).unwrap();
        let names: Vec<_> = chat.as_array().unwrap().iter().map(|t| t["function"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["f", "apply_patch", "ns__f", "ns__run"]);
        assert_eq!(chat[0]["function"]["strict"], true);
        assert_eq!(chat[0]["function"]["description"], "d");
        assert!(written.contains(r#""parameters":{"a":2,"z":1}"#), "{written}");
        let patch = chat[1]["function"]["description"].as_str().unwrap();
        assert!(patch.starts_with("Patches \"files\".\n\n") && patch.ends_with("(lark):\nstart: \"a\"\n"), "{patch}");
        assert_eq!(chat[1]["function"]["parameters"]["required"], json!(["input"]));
        assert_eq!(chat[2]["function"]["parameters"], json!({"type": "object", "properties": {}}));
        let table = tools.into_table();
        assert_eq!((table[3].name.as_str(), table[3].namespace.as_deref()), ("run", Some("ns")));
        assert_eq!(table[3].kind, ToolKind::Custom);
    }

    #[test]
    fn tools_whose_names_look_alike_stay_apart() {
        let (tools, written) = declared(&json!([
            {"type": "namespace", "name": "a", "tools": [{"type": "function", "name": "b__c"}, {"type": "function", "name": "f"}]},
            {"type": "namespace", "name": "a__b", "tools": [{"type": "function", "name": "c"}]},
            {"type": "function", "name": "a__b__c"},
            {"type": "function", "name": "f"},
        ]));
        let chat: Value = serde_json::from_str(&written).unwrap();
        let names: Vec<_> = chat.as_array().unwrap().iter().map(|t| t["function"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a__b__c", "a__f", "a__b__c_2", "a__b__c_3", "f"]);
        for (value, name) in [
            (json!({"type": "function", "name": "f"}), "f"),
            (json!({"type": "function", "namespace": "a__b", "name": "c"}), "a__b__c_2"),
            (json!({"type": "function", "name": "a__b__c"}), "a__b__c_3"),
        ] {
            let chosen = choice(&tools, &value).unwrap().json.unwrap();
            assert!(chosen.contains(&format!("\"{name}\"")), "{value}: {chosen}");
        }
        let table = tools.into_table();
        assert_eq!((table[2].name.as_str(), table[2].namespace.as_deref()), ("c", Some("a__b")));
    }

    #[test]
    fn a_choice_names_a_declared_tool_or_fails() {
        let (tools, _) = declared(&json!([
            {"type": "function", "name": "f"}, {"type": "custom", "name": "c"},
            {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "g"}]}, {"type": "web_search"},
        ]));
        let json = |value: Value| choice(&tools, &value).unwrap().json;
        assert_eq!(json(json!("auto")), None);
        assert_eq!(json(json!("required")).unwrap(), "\"required\"");
        let named = |name: &str| Some(format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#));
        assert_eq!(json(json!({"type": "custom", "name": "c"})), named("c"));
        assert_eq!(json(json!({"type": "function", "namespace": "ns", "name": "g"})), named("ns__g"));
        let some = choice(
            &tools,
            &json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}),
        );
        assert_eq!(some.unwrap().allowed.unwrap(), ["ns__g"]);
        for (value, param) in [
            (json!({"type": "web_search"}), "type"),
            (json!({"type": "function", "name": "x"}), "name"),
            (json!("maybe"), ""),
        ] {
            let bad = choice(&tools, &value).unwrap_err();
            assert_eq!(bad.param.as_deref(), Some(param), "{}", bad.message);
        }
        let (hosted, _) = declared(&json!([{"type": "web_search"}]));
        assert!(choice(&hosted, &json!("required")).unwrap_err().message.contains("web_search"));
        assert!(choice(&hosted, &json!("auto")).is_ok());
    }

    #[test]
    fn a_search_for_tools_is_a_function_only_where_the_client_runs_it() {
        let search =
            |execution: &str| json!({"type": "tool_search", "execution": execution, "description": "Finds tools."});
        let (tools, written) = declared(&json!([search("server")]));
        assert_eq!((tools.hosted.as_slice(), written.as_str()), (&["tool_search".to_owned()][..], ""));
        let (_, written) = declared(&json!([search("client"), {"type": "namespace", "name": "empty", "tools": []}]));
        let chat: Value = serde_json::from_str(&written).unwrap();
        assert_eq!((&chat[0]["function"]["name"], chat.as_array().unwrap().len()), (&json!("tool_search"), 1));
        assert_eq!(chat[0]["function"]["parameters"]["required"], json!(["query"]));
    }
}
