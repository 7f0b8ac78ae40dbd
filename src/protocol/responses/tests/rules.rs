//! The rules of a stream of events: each fits its schema, follows what it continues, and agrees with what the events before it
//! have said.

use serde_json::{Value, json};

use crate::protocol::json_schema::{OPENAI, RESPONSES};

/// The events of a stream, as a reader of server-sent events sees them.
pub(super) fn events(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("one line: {event}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
        data
    });
    events.collect()
}

/// Checks a whole stream. Returns the object of its last event.
pub(super) fn check(stream: &[u8]) -> Value {
    let events = events(stream);
    let mut reader = Reader::default();
    for (number, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        RESPONSES.check("event", event).unwrap_or_else(|e| panic!("{e}\n{event}"));
        // A kind that no client knows, so that all of them skip it.
        if kind != "keepalive" {
            OPENAI.check("event", event).unwrap_or_else(|e| panic!("{e}\n{event}"));
        }
        assert_eq!(event["sequence_number"], number, "{event}");
        assert_eq!(kind == "response.created", number == 0, "{event}");
        assert_eq!(kind == "response.in_progress", number == 1, "{event}");
        assert!(reader.end.is_none(), "nothing follows the end: {event}");
        reader.read(kind, event);
    }
    reader.end.expect("the stream has an end")
}

#[derive(Default)]
struct Reader {
    response: Value,
    items: Vec<Item>,
    end: Option<Value>,
}

struct Item {
    value: Value,
    /// The member of the item that holds the part which is being written, and the part's index.
    part: Option<(&'static str, usize)>,
    /// The text of a call was reported as complete.
    call_done: bool,
    done: bool,
}

impl Reader {
    fn read(&mut self, kind: &str, event: &Value) {
        match kind.strip_prefix("response.").unwrap_or(kind) {
            "created" => self.response = event["response"].clone(),
            "in_progress" => assert_eq!(self.response, event["response"]),
            "keepalive" => {}
            "output_item.added" => self.added(event),
            "completed" | "incomplete" | "failed" => self.ended(kind, event),
            step => {
                let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
                let item = &mut self.items[index];
                assert!(!item.done, "the item is done: {event}");
                if step == "output_item.done" {
                    item.finish(event);
                } else {
                    assert_eq!(item.value["id"], event["item_id"], "{event}");
                    item.step(step, event);
                }
            }
        }
    }

    fn added(&mut self, event: &Value) {
        let mut value = event["item"].clone();
        assert_eq!(event["output_index"], self.items.len(), "indexes are contiguous: {event}");
        if value["type"] != "compaction" {
            assert_eq!(value["status"], "in_progress", "{event}");
        }
        for empty in ["content", "summary"] {
            assert!(value.get(empty).is_none_or(|list| list == &json!([])), "{event}");
        }
        if value["type"] == "reasoning" && value.get("content").is_none() {
            value["content"] = json!([]);
        }
        assert!(self.items.iter().all(|item| item.value["id"] != value["id"]), "ids are unique: {event}");
        self.items.push(Item { value, part: None, call_done: false, done: false });
    }

    fn ended(&mut self, kind: &str, event: &Value) {
        let response = &event["response"];
        for same in ["id", "created_at", "instructions", "tools", "metadata", "store"] {
            assert_eq!(response[same], self.response[same], "{event}");
        }
        let output = response["output"].as_array().unwrap();
        assert_eq!(response["status"], kind.strip_prefix("response.").unwrap());
        assert_eq!(response["completed_at"].is_null(), kind != "response.completed");
        assert_eq!(response["error"].is_null(), kind != "response.failed");
        assert_eq!(response["incomplete_details"].is_null(), kind != "response.incomplete");
        assert_eq!(output.len(), self.items.len(), "{event}");
        for (item, last) in self.items.iter().zip(output) {
            if kind == "response.failed" && !item.done {
                assert_eq!(item.value["id"], last["id"]);
                assert_ne!(last["status"], "in_progress");
            } else {
                assert!(item.done, "an item is open at the end: {}", item.value);
                assert_eq!(&item.value, last);
            }
        }
        self.end = Some(response.clone());
    }
}

impl Item {
    fn step(&mut self, step: &str, event: &Value) {
        let (member, index) = match (event.get("content_index"), event.get("summary_index")) {
            (Some(index), None) => ("content", index.as_u64()),
            (None, Some(index)) => ("summary", index.as_u64()),
            _ => ("", None),
        };
        let index = usize::try_from(index.unwrap_or_default()).unwrap();
        match step {
            "content_part.added" | "reasoning_summary_part.added" => {
                assert_eq!(self.part.replace((member, index)), None, "a part is open: {event}");
                let parts = self.value[member].as_array_mut().unwrap();
                assert_eq!(parts.len(), index, "{event}");
                assert_eq!(text_of(&event["part"]), "", "{event}");
                parts.push(event["part"].clone());
            }
            "content_part.done" | "reasoning_summary_part.done" => {
                assert_eq!(self.part.take(), Some((member, index)), "{event}");
                assert_eq!(self.value[member][index], event["part"], "{event}");
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                assert!(!self.call_done, "{event}");
                let member = call_member(step);
                let text = self.value[member].as_str().unwrap().to_owned() + event["delta"].as_str().unwrap();
                self.value[member] = text.into();
            }
            "function_call_arguments.done" | "custom_tool_call_input.done" => {
                assert!(!std::mem::replace(&mut self.call_done, true), "{event}");
                assert_eq!(self.value[call_member(step)], event[call_member(step)], "{event}");
            }
            _ => self.text(step, member, index, event),
        }
    }

    fn text(&mut self, step: &str, member: &'static str, index: usize, event: &Value) {
        assert_eq!(self.part, Some((member, index)), "the part is not open: {event}");
        let part = &mut self.value[member][index];
        let kind = part["type"].as_str().unwrap().replace("summary_text", "reasoning_summary_text");
        let name = if kind == "refusal" { "refusal" } else { "text" };
        if let Some(delta) = event.get("delta") {
            assert_eq!(step, format!("{kind}.delta"), "{event}");
            part[name] = (part[name].as_str().unwrap().to_owned() + delta.as_str().unwrap()).into();
        } else {
            assert_eq!(step, format!("{kind}.done"), "{event}");
            assert_eq!(part[name], event[name], "{event}");
        }
    }

    fn finish(&mut self, event: &Value) {
        let mut item = event["item"].clone();
        assert_eq!(self.part, None, "a part is open: {event}");
        // The arguments of a search come with the whole item.
        let is_search = item["type"] == "tool_search_call";
        let is_call = item.get("call_id").is_some() && !is_search;
        assert_eq!(self.call_done, is_call, "{event}");
        if item["type"] == "reasoning" && item.get("content").is_none() {
            item["content"] = json!([]);
        }
        for same in ["type", "id", "role", "content", "summary", "call_id", "name", "namespace", "arguments", "input"] {
            if same == "arguments" && is_search {
                continue;
            }
            assert_eq!(self.value.get(same), item.get(same), "{event}");
        }
        self.value = event["item"].clone();
        self.done = true;
    }
}

fn call_member(step: &str) -> &'static str {
    if step.starts_with("function") { "arguments" } else { "input" }
}

fn text_of(part: &Value) -> &str {
    part.get("text").or(part.get("refusal")).and_then(Value::as_str).unwrap()
}
