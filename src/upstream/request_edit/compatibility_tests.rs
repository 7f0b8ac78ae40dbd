//! What SDKs and agents write that some provider refuses.

use serde_json::{Value, json};

use super::tests::{PROVIDERS, value};
use crate::upstream::test_support::{candidate, named};

/// The paths of null members, other than the content of a message.
fn nulls(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(path.to_owned()),
        Value::Array(items) => items.iter().for_each(|item| nulls(item, &format!("{path}[]"), found)),
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| path != "messages[]" || *name != "content");
            members.for_each(|(name, inner)| nulls(inner, &format!("{path}.{name}"), found));
        }
        _ => {}
    }
}

#[test]
fn null_members_of_messages_parts_and_calls_are_left_out() {
    let body = r#"{"model":"m","messages":[
        {"role":"user","name":null,"content":[{"type":"text","text":"x","image_url":null},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":null}}]},
        {"role":"assistant","content":null,"refusal":null,"audio":null,"function_call":null,"name":null,"annotations":null,"tool_calls":[
            {"id":"a","type":"function","index":null,"extra_content":null,"custom":null,"function":{"name":"f","arguments":"{}","description":null}},
            {"id":"b","type":"function","extra_content":null,"function":{"name":"f","arguments":null}}]},
        {"role":"tool","tool_call_id":"a","name":null,"content":"1"},{"role":"tool","tool_call_id":"b","content":"2"}]}"#;
    for provider in PROVIDERS {
        let sent = value(body, candidate(provider));
        let mut found = Vec::new();
        nulls(&sent["messages"], "messages", &mut found);
        assert!(found.is_empty(), "{provider}: {found:?}");
        let assistant = &sent["messages"][1];
        assert_eq!(assistant["content"].as_str().unwrap_or_default(), "", "{provider}");
        assert_eq!(assistant["tool_calls"][1]["function"]["arguments"], "{}", "{provider}");
    }
}

#[test]
fn a_function_without_parameters_has_an_empty_schema() {
    let tool = |parameters: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f"{parameters}}}}}]}}"#
        )
    };
    let schema = json!({"type": "object", "properties": {}});
    for provider in PROVIDERS {
        let wanted = (provider != "gemini").then_some(&schema);
        for absent in ["", r#","parameters":null"#] {
            let sent = value(&tool(absent), candidate(provider));
            assert_eq!(sent["tools"][0]["function"].get("parameters"), wanted, "{provider} {absent}");
        }
        let sent = value(&tool(r#","parameters":{"type":"object"}"#), candidate(provider));
        assert_eq!(sent["tools"][0]["function"]["parameters"], json!({"type": "object"}), "{provider}");
    }
}

#[test]
fn an_effort_is_one_that_the_model_takes() {
    for (name, requested, wanted) in [
        ("gemini/gemini-3.5-flash-lite", "xhigh", Some("high")),
        ("gemini/gemini-3.7-flash", "none", Some("minimal")),
        ("gemini/gemma-4-31b-it", "max", Some("high")),
        ("custom/m", "minimal", Some("low")),
        ("custom/m", "medium", Some("medium")),
        ("custom/m", "xhigh", Some("high")),
        ("custom/m", "none", None),
        ("custom/m", "default", None),
        ("ollama/gpt-oss:20b", "none", Some("none")),
        ("ollama/gpt-oss:20b", "max", Some("max")),
    ] {
        let body =
            format!(r#"{{"model":"m","reasoning_effort":"{requested}","messages":[{{"role":"user","content":"x"}}]}}"#);
        let sent = value(&body, named(name));
        assert_eq!(sent.get("reasoning_effort").and_then(Value::as_str), wanted, "{name} {requested}");
    }
}

#[test]
fn an_assistants_thoughts_are_no_part_of_its_content() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":[
        {"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Yes."}]},{"role":"user","content":"y"}]}"#;
    for provider in PROVIDERS {
        assert_eq!(value(body, candidate(provider))["messages"][1]["content"], "Yes.", "{provider}");
    }
}
