//! What clients of this protocol send beside its documentation, as users of other gateways have reported it.

use serde_json::{Value, json};

use super::decode;
use crate::protocol::{Encoder, ReplyInfo, chat::Chunk, tool_name};

fn chat(more: &Value) -> Value {
    let mut request = json!({ "model": "free", "max_tokens": 99, "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    serde_json::from_slice(&decode(request.to_string().into()).unwrap().request.body).unwrap()
}

#[test]
fn the_line_for_anthropics_accounts_does_not_reach_the_model() {
    let line = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;";
    let blocks = json!([{ "type": "text", "text": line }, { "type": "text", "text": "You are an agent." }]);
    for system in [blocks, json!(format!("{line}\nYou are an agent."))] {
        assert_eq!(chat(&json!({ "system": system }))["messages"][0]["content"], "You are an agent.");
    }
    assert_eq!(chat(&json!({ "system": line }))["messages"][0]["role"], "user");
}

#[test]
fn a_long_name_of_a_tool_is_short_for_providers_and_comes_back_whole() {
    let long = "mcp__plugin_chrome-devtools-mcp_chrome-devtools__get_console_message";
    let short = tool_name::chat_name(long).into_owned();
    let tools = json!([{ "name": long, "input_schema": { "type": "object" } }]);
    let history = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": long, "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "y" }] },
    ]);
    let more = json!({ "tools": tools, "messages": history, "tool_choice": { "type": "tool", "name": long } });
    let chat = chat(&more);
    assert!(short.len() <= 64);
    assert_eq!(chat["tools"][0]["function"]["name"], short);
    assert_eq!(chat["tool_choice"]["function"]["name"], short);
    assert_eq!(chat["messages"][1]["tool_calls"][0]["function"]["name"], short);
    let mut request = more;
    (request["model"], request["max_tokens"]) = (json!("free"), json!(9));
    let call = json!({ "index": 0, "id": "c", "function": { "name": short, "arguments": "{}" } });
    let choice = |name: &str| json!({ "choices": [{ "index": 0, name: { "tool_calls": [call] }, "finish_reason": "tool_calls" }] });
    let read = |value: Value| Chunk::read(value.to_string().as_bytes()).unwrap();
    let info = ReplyInfo { model: "groq/llama".into(), prompt_tokens: 7 };
    let mut encoder = decode(request.to_string().into()).unwrap().encoder;
    let whole: Value = serde_json::from_slice(&encoder.whole(&info, read(choice("message")))).unwrap();
    assert_eq!(whole["content"][0]["name"], long);
    let (mut encoder, mut out) = (decode(request.to_string().into()).unwrap().encoder, Vec::new());
    encoder.begin(&info, &mut out);
    encoder.chunk(read(choice("delta")), &mut out);
    assert!(String::from_utf8(out).unwrap().contains(long));
}

#[test]
fn who_the_user_is_stays_here() {
    let user = |id: &str| chat(&json!({ "metadata": { "user_id": id } }))["user"].clone();
    assert_eq!(user("team-7"), "team-7");
    let device = json!({ "device_id": "f".repeat(64), "account_uuid": "a-1", "session_id": "s-1" }).to_string();
    let named = user(&device);
    assert_eq!((named.as_str().unwrap().len(), user(&device)), (32, named.clone()));
    assert_ne!(user("ann@example.com"), "ann@example.com");
}

#[test]
fn what_a_search_for_tools_has_found_is_said_to_the_model() {
    let history = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "ToolSearch", "input": { "query": "go" } }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "tool_reference", "tool_name": "mcp__go" }] }] },
    ]);
    assert_eq!(chat(&json!({ "messages": history }))["messages"][2]["content"], "Found: mcp__go");
}
