//! Whole requests, and the error for each mistake.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::decode;
use crate::{
    domain::{Capabilities, Tier},
    protocol::{
        BadRequest, Decoded,
        responses::{Options, Purpose, Sealer},
    },
};

fn read_with(body: &Value, options: Options) -> Result<Decoded, BadRequest> {
    decode(&Bytes::from(body.to_string()), options)
}

fn chat(body: &Value) -> (Value, Decoded) {
    let decoded = read_with(body, Options::default()).unwrap_or_else(|e| panic!("{body}: {}", e.message));
    (serde_json::from_slice(&decoded.request.body).unwrap(), decoded)
}

fn bad(body: &Value) -> BadRequest {
    match read_with(body, Options::default()) {
        Err(bad) => bad,
        Ok(_) => panic!("accepted: {body}"),
    }
}

fn purpose(purpose: Purpose) -> Options {
    Options { purpose, sealer: Sealer::new(b"key").map(Arc::new), ..Options::default() }
}

#[test]
fn every_parameter_finds_its_place_in_the_chat_completion() {
    let (chat, decoded) = chat(&json!({
        "model": "free", "stream": true, "instructions": "Be brief.", "input": "hi",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"}, "max_output_tokens": 99, "temperature": 0.5, "top_p": 0.9,
        "service_tier": "flex", "user": "u", "metadata": {"a": "b"}, "store": false, "truncation": "auto",
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "prompt_cache_key": "k",
        "client_metadata": {"x": 1}, "unknown": [1],
    }));
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let schema = json!({"name": "s", "schema": {"type": "object"}, "strict": true});
    let expected = json!({
        "model": "free", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "reasoning_effort": "high", "max_tokens": 99, "temperature": 0.5, "top_p": 0.9, "service_tier": "flex", "user": "u",
    });
    assert_eq!(chat, expected);
    assert_eq!(decoded.dropped, ["web_search", "message.output_text.logprobs"]);
    let request = decoded.request;
    assert!(request.stream && request.include_usage && request.needs.has(Capabilities::TOOLS));
    assert_eq!((request.model.as_str(), request.max_tokens, request.tier), ("free", Some(99), Tier::Flex));
}

#[test]
fn a_request_without_a_model_is_served_by_the_smartest() {
    let (chat, decoded) = chat(&json!({"input": "hi", "temperature": null, "tools": null, "stream": null}));
    assert_eq!(decoded.request.model, "free-smart");
    assert_eq!(chat, json!({"model": "free-smart", "messages": [{"role": "user", "content": "hi"}]}));
}

#[test]
fn tools_of_the_input_and_allowed_tools_count() {
    let tool = |name: &str| json!({"type": "function", "name": name});
    let (chat, _) = chat(&json!({
        "input": [{"type": "additional_tools", "role": "developer", "tools": [tool("b"), tool("a")]}, {"role": "user", "content": "x"}],
        "tools": [tool("a"), tool("c")],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [tool("a"), tool("b")]},
    }));
    let names: Vec<_> = chat["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(chat["tool_choice"], "required");
}

#[test]
fn the_history_precedes_the_input() {
    let history = r#"[{"role":"user","content":"one"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"two"}]}]"#;
    let options = Options { history: Some(history.to_owned()), ..Options::default() };
    let body = json!({"model": "m", "previous_response_id": "resp_1", "instructions": "i", "input": "three"});
    let decoded = read_with(&body, options).unwrap_or_else(|e| panic!("{}", e.message));
    let chat: Value = serde_json::from_slice(&decoded.request.body).unwrap();
    let contents: Vec<_> = chat["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(contents, ["i", "one", "two", "three"]);
}

#[test]
fn a_compaction_asks_for_a_summary_without_tools() {
    let input = json!([
        {"role": "user", "content": "x"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "compaction_trigger"},
    ]);
    let tools = json!([{"type": "function", "name": "f"}]);
    for (purpose, input) in [(Purpose::Respond, input), (Purpose::Compact, json!("x"))] {
        let body = json!({"model": "m", "input": input, "tools": tools});
        let decoded = read_with(&body, self::purpose(purpose)).unwrap_or_else(|e| panic!("{}", e.message));
        let chat: Value = serde_json::from_slice(&decoded.request.body).unwrap();
        assert_eq!(chat.get("tools"), None);
        let last = chat["messages"].as_array().unwrap().last().unwrap();
        assert!(last["role"] == "user" && last["content"].as_str().unwrap().contains("summary"), "{last}");
    }
    let no_key =
        bad(&json!({"model": "m", "input": [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]}));
    assert!(no_key.message.contains("TOLLFREE_SEAL_KEY"), "{}", no_key.message);
    let Err(no_model) = read_with(&json!({"input": "x"}), purpose(Purpose::Compact)) else { panic!("accepted") };
    assert_eq!(no_model.param.as_deref(), Some("model"));
}

#[test]
fn a_wrong_parameter_is_reported_with_its_name() {
    for (member, param, found) in [
        (json!({"background": true}), "background", "not supported"),
        (json!({"conversation": "conv_1"}), "conversation", "not stored"),
        (json!({"prompt": {"id": "p"}}), "prompt", "not stored"),
        (json!({"model": 5}), "model", "a string, found 5"),
        (json!({"model": ""}), "model", "an empty string"),
        (json!({"input": null}), "input", "Missing"),
        (json!({"input": 5}), "input", "a string or an array"),
        (json!({"input": []}), "input", "at least one item"),
        (json!({"instructions": ["x"]}), "instructions", "a string"),
        (json!({"stream": "yes"}), "stream", "a boolean, found `yes`"),
        (json!({"temperature": "hot"}), "temperature", "a number"),
        (json!({"temperature": 3}), "temperature", "from 0 to 2"),
        (json!({"max_output_tokens": 0}), "max_output_tokens", "`max_output_tokens`: expected a positive integer"),
        (json!({"reasoning": {"effort": 3}}), "reasoning.effort", "a string"),
        (json!({"reasoning": "high"}), "reasoning", "an object"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type", "found `xml`"),
        (json!({"text": {"format": {"type": "json_schema", "name": "s"}}}), "text.format.schema", "Missing"),
        (json!({"tools": {}}), "tools", "an array"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].type", "Missing"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name", "Missing"),
        (json!({"tools": [{"type": "function", "name": "f", "parameters": 1}]}), "tools[0].parameters", "an object"),
        (json!({"tools": [{"type": "web_search"}], "tool_choice": "required"}), "tool_choice", "web_search"),
        (
            json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}),
            "tool_choice.type",
            "OpenAI's own",
        ),
        (json!({"tool_choice": {"type": "function", "name": "f"}}), "tool_choice.name", "not among"),
        (json!({"include": "x"}), "include", "an array"),
        (json!({"truncation": "some"}), "truncation", "`auto` or `disabled`"),
        (json!({"metadata": "x"}), "metadata", "an object"),
    ] {
        let mut body = json!({"model": "m", "input": "x"});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        let bad = bad(&body);
        assert_eq!((bad.code, bad.param.as_deref()), ("invalid_value", Some(param)), "{member}: {}", bad.message);
        assert!(bad.message.contains(found), "{member}: {}", bad.message);
    }
}

#[test]
fn a_response_that_is_not_stored_cannot_be_continued() {
    let bad = bad(&json!({"model": "m", "input": "x", "previous_response_id": "resp_1"}));
    assert_eq!((bad.code, bad.param.as_deref()), ("previous_response_not_found", Some("previous_response_id")));
    assert!(bad.message.contains("resp_1") && bad.message.contains("[responses] store"), "{}", bad.message);
}

#[test]
fn malformed_bodies_are_reported_as_such() {
    for (body, found) in
        [(&b"{\"input\":\n}"[..], "line 2 column 1"), (b"{\"input\":\"\xff\"}", "byte 10"), (b"", "line 1 column 1")]
    {
        let Err(bad) = decode(&Bytes::copy_from_slice(body), Options::default()) else { panic!("accepted") };
        assert_eq!((bad.code, bad.param.as_deref()), ("invalid_json", None));
        assert!(bad.message.contains(found), "{}", bad.message);
    }
    assert!(decode(&Bytes::from_static(b"\xEF\xBB\xBF{\"input\":\"x\"}"), Options::default()).is_ok());
}
