//! Input items as the messages of a chat completion.

use serde_json::{Value, json};

use crate::protocol::{
    BadRequest,
    responses::{Sealer, conversation::Conversation, node::Node, seal::SealedFor, tools::Tools},
};

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
fn a_search_for_tools_is_a_call_whose_output_declares_them() {
    let tool =
        json!({"type": "namespace", "name": "mcp", "description": "", "tools": [{"type": "function", "name": "go"}]});
    let text = json!({"input": [
        {"role": "user", "content": "x"},
        {"type": "tool_search_call", "call_id": "s1", "execution": "client", "arguments": {"query": "\"go\""}},
        {"type": "tool_search_output", "call_id": "s1", "status": "completed", "execution": "client", "tools": [tool]},
        {"type": "tool_search_call", "call_id": null, "execution": "server", "arguments": {}},
    ]})
    .to_string();
    let (mut conversation, mut tools) = (Conversation::new(None, Vec::new()), Tools::default());
    for item in Node::root(&text).unwrap().members().unwrap().need("input").unwrap().items().unwrap() {
        conversation.item(item, &mut tools).unwrap();
    }
    let mut out = String::new();
    conversation.write(&mut out).unwrap();
    let messages: Value = serde_json::from_str(&out).unwrap();
    let function = &messages[1]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "tool_search");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"query": "\"go\""}));
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "s1", "content": "Found: mcp"}));
    let mut declared = String::new();
    tools.write(None, &mut declared).unwrap();
    assert!(declared.contains("\"mcp__go\""), "{declared}");
}

#[test]
fn what_another_agent_says_is_a_message_and_what_codex_keeps_for_itself_is_left_out() {
    let said = json!([{"type": "input_text", "text": "Tests \"pass\"."}, {"type": "encrypted_content", "encrypted_content": "x"}]);
    let messages = read(&json!([
        {"type": "configuration_update", "settings": {}}, {"type": "ghost_snapshot"}, {"type": "context_compaction"},
        {"type": "agent_message", "author": "planner", "recipient": "root", "content": said},
    ]))
    .unwrap();
    assert_eq!(messages, json!([{"role": "user", "content": "planner:\n\nTests \"pass\"."}]));
}

#[test]
fn items_of_hosted_tools_are_left_out() {
    let messages = read(&json!([{"role": "user", "content": "x"}, {"type": "web_search_call", "id": "ws_1"}])).unwrap();
    assert_eq!(messages.as_array().unwrap().len(), 1);
}
