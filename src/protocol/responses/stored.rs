//! Stored responses: the items that a request adds to its conversation, and conversations read back.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::node::{Members, Node};
use crate::{json::Kind, protocol::BadRequest};

/// What of a request needs the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The response that the request continues.
    pub previous: Option<String>,
    /// Items that are named and not given.
    pub items: Vec<String>,
    /// The caller wants the response stored, which is the default.
    pub stores: bool,
}

/// Finds what a request refers to.
pub(super) fn references(members: &Members<'_>) -> Result<References, BadRequest> {
    let mut found = References { stores: true, ..References::default() };
    found.previous = members.text("previous_response_id")?.map(|id| id.decode().into_owned());
    if let Some(store) = members.get("store") {
        found.stores = store.boolean()?;
    }
    if let Some(input) = members.get("input").filter(|input| input.kind() == Kind::Array) {
        found.items = referenced(input)?;
    }
    Ok(found)
}

/// The items that a list of items names.
pub fn referenced_items(items: &str) -> Vec<String> {
    Node::root(items).and_then(referenced).unwrap_or_default()
}

fn referenced(items: Node<'_>) -> Result<Vec<String>, BadRequest> {
    let mut ids = Vec::new();
    for item in items.items()?.into_iter().filter(|item| item.kind() == Kind::Object) {
        if let Some(id) = reference(&item.members()?) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The id of an item that is named and not given.
pub(super) fn reference(members: &Members<'_>) -> Option<String> {
    let is_reference = match members.get("type") {
        Some(kind) => kind.raw() == "\"item_reference\"",
        None => members.get("role").is_none(),
    };
    let id = members.get("id").filter(|_| is_reference)?;
    Some(id.string().ok()?.decode().into_owned())
}

/// The id of the response that an item with this id belongs to: the item's own id contains its key.
pub fn response_of_item(item: &str) -> Option<String> {
    let key = item.split_once('_')?.1.get(..KEY_CHARS)?;
    Some(format!("resp_{key}"))
}

/// Characters of the key in the ids of a response and its items.
const KEY_CHARS: usize = 32;

/// The item with this id, as JSON, among those of a stored response.
pub fn find_item(id: &str, input: &str, object: &str) -> Option<String> {
    let output = output_of(object)?;
    [input, output].into_iter().find_map(|items| {
        let items = Node::root(items).ok()?.items().ok()?;
        let own =
            |item: &&Node<'_>| item.members().is_ok_and(|members| members.raw_or_null("id").trim_matches('"') == id);
        items.iter().find(own).map(|item| item.raw().to_owned())
    })
}

/// The items of a conversation as one JSON array. `responses`: input items and object of each, the earliest first.
pub fn conversation<'a>(responses: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lists = responses.flat_map(|(input, object)| [Some(input), output_of(object)]).flatten();
    let items = lists.filter_map(|list| list.trim().strip_prefix('[')?.strip_suffix(']'));
    let items: Vec<&str> = items.map(str::trim).filter(|items| !items.is_empty()).collect();
    format!("[{}]", items.join(","))
}

/// The `output` of a response object.
fn output_of(object: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        output: &'a RawValue,
    }
    serde_json::from_str::<Object<'_>>(object).ok().map(|object| object.output.get())
}

/// The items that a request adds to its conversation, each with an id, as a JSON array.
pub(super) fn own_items(members: &Members<'_>, key: &str) -> Result<String, BadRequest> {
    let items = match members.get("input") {
        Some(input) if input.kind() == Kind::String => vec![text_message("user", input.raw(), &id("msg", key, 0), "")],
        Some(input) => {
            let items = input.items()?.into_iter().enumerate();
            items.map(|(at, item)| own_item(item, key, at)).collect::<Result<Vec<_>, _>>()?
        }
        None => Vec::new(),
    };
    Ok(format!("[{}]", items.join(",")))
}

fn id(prefix: &str, key: &str, at: usize) -> String {
    format!("{prefix}_{key}i{at:04x}")
}

fn own_item(item: Node<'_>, key: &str, at: usize) -> Result<String, BadRequest> {
    let members = item.members()?;
    if reference(&members).is_some() {
        return Ok(item.raw().to_owned());
    }
    let kind = members.text("type")?.map_or("message", |kind| kind.raw);
    let known = members.text("id")?.map(|id| id.raw.to_owned());
    let prefix = match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "custom_tool_call" => "ctc",
        "compaction" => "cmp",
        _ => "item",
    };
    let is_known = known.is_some();
    let id = known.unwrap_or_else(|| id(prefix, key, at));
    if kind == "message"
        && let (Some(content), Some(role)) = (members.get("content"), members.text("role")?)
        && content.kind() == Kind::String
    {
        let phase = members.get("phase").map_or_else(String::new, |phase| format!(",\"phase\":{}", phase.raw()));
        return Ok(text_message(role.raw, content.raw(), &id, &phase));
    }
    let mut added = String::new();
    if !is_known {
        // Writing to a `String` cannot fail.
        let _ = write!(added, "\"id\":\"{id}\",");
    }
    if members.get("type").is_none() {
        added.push_str("\"type\":\"message\",");
    }
    // A null would stand beside the value that replaces it.
    let kept = members.entries().filter(|(name, node)| node.kind() != Kind::Null || !matches!(*name, "id" | "type"));
    let kept: Vec<String> = kept.map(|(name, node)| format!("\"{name}\":{}", node.raw())).collect();
    Ok(format!("{{{added}{}}}", kept.join(",")))
}

/// A message with one text, in the form that lists of items have.
fn text_message(role: &str, text: &str, id: &str, phase: &str) -> String {
    let part = if role == "assistant" {
        format!("{{\"type\":\"output_text\",\"text\":{text},\"annotations\":[]}}")
    } else {
        format!("{{\"type\":\"input_text\",\"text\":{text}}}")
    };
    format!(
        "{{\"id\":\"{id}\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"{role}\",\"content\":[{part}]{phase}}}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn own_items_have_ids_that_lead_back_to_their_response() {
        let call = json!({"type": "function_call", "id": null, "call_id": "1", "name": "f", "arguments": "{}"});
        let reference = json!({"type": "item_reference", "id": format!("msg_{KEY}0000")});
        let body = json!({"input": [{"role": "user", "content": "a\"b"}, call, {"id": "msg_own", "role": "user", "content": []}, reference]});
        let text = body.to_string();
        let items = own_items(&Node::root(&text).unwrap().members().unwrap(), KEY).unwrap();
        let items: Value = serde_json::from_str(&items).unwrap();
        assert_eq!(items[0]["content"], json!([{"type": "input_text", "text": "a\"b"}]));
        assert_eq!(items[1]["id"], format!("fc_{KEY}i0001"));
        assert_eq!((&items[2]["id"], &items[2]["type"]), (&json!("msg_own"), &json!("message")));
        assert_eq!(items[3], reference);
        assert_eq!(response_of_item(items[1]["id"].as_str().unwrap()), Some(format!("resp_{KEY}")));
        assert_eq!(response_of_item("msg_short"), None);
    }

    #[test]
    fn a_conversation_is_read_back_in_order() {
        let object = |text: &str| {
            json!({"id": "resp_1", "output": [{"id": text, "type": "message"}], "usage": null}).to_string()
        };
        let (first, second) = (object("b"), object("d"));
        let links = [(r#"[{"id":"a"}]"#, first.as_str()), ("[ ]", &second), (r#"[{"id":"e"}]"#, "{}")];
        let items: Value = serde_json::from_str(&conversation(links.into_iter())).unwrap();
        let ids: Vec<_> = items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "d", "e"]);
        assert_eq!(find_item("d", "[]", &second).unwrap(), r#"{"id":"d","type":"message"}"#);
        assert_eq!(find_item("x", "[]", &second), None);
    }

    #[test]
    fn references_are_found_in_a_body() {
        let body = json!({"previous_response_id": "resp_1", "store": false,
            "input": [{"id": "msg_1"}, {"type": "item_reference", "id": "rs_2"}, {"role": "user", "id": "msg_3", "content": "x"}]});
        let of = |body: &str| references(&Node::root(body).unwrap().members().unwrap()).unwrap();
        let found = of(&body.to_string());
        let items = vec!["msg_1".to_owned(), "rs_2".to_owned()];
        assert_eq!(found, References { previous: Some("resp_1".to_owned()), items, stores: false });
        assert!(of("{\"input\":\"x\"}").stores);
    }
}
