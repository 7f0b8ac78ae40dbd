//! Chat streams as events: by example, and for random streams against the rules.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decode,
    rules::{check, events},
};
use crate::protocol::{
    Encoder, Failure, ReplyInfo,
    chat::Chunk,
    json_schema::{OPENAI, RESPONSES},
    responses::{Manners, Options, Purpose, Sealer},
};

fn info() -> ReplyInfo {
    ReplyInfo { model: "groq/gpt-oss".into(), prompt_tokens: 7 }
}

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(b"key").unwrap())
}

fn encoder(members: &Value, options: Options) -> Box<dyn Encoder> {
    let mut body = json!({"model": "free", "input": "hi", "stream": true, "tools": [
        {"type": "function", "name": "f", "description": "d"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "tool_search", "execution": "client"},
        {"type": "namespace", "name": "ns", "description": "n", "tools": [{"type": "function", "name": "g"}, {"type": "custom", "name": "c"}]},
    ]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let options = Options { sealer: Some(sealer()), ..options };
    decode(&Bytes::from(body.to_string()), options).unwrap_or_else(|e| panic!("{}", e.message)).encoder.unwrap()
}

fn chunk(delta: &Value, reason: Option<&str>) -> Chunk {
    let chunk = json!({"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    Chunk::read(chunk.to_string().as_bytes()).unwrap()
}

fn usage() -> Chunk {
    let usage = json!({
        "prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 16}, "completion_tokens_details": {"reasoning_tokens": 4},
    });
    Chunk::read(json!({"choices": [], "usage": usage}).to_string().as_bytes()).unwrap()
}

fn call(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

/// The stream of an answer with these chunks.
fn stream(mut encoder: Box<dyn Encoder>, chunks: Vec<Chunk>) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&info(), &mut out);
    for chunk in chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.finish(&mut out);
    out
}

fn kinds(stream: &[u8]) -> Vec<String> {
    events(stream).iter().map(|event| event["type"].as_str().unwrap().replace("response.", "")).collect()
}

#[test]
fn a_text_is_announced_written_and_completed() {
    let chunks = vec![
        chunk(&json!({"content": "Hel"}), None),
        chunk(&json!({"content": "lo \"you\"\n"}), Some("stop")),
        usage(),
    ];
    let stream = stream(encoder(&json!({"metadata": {"a": "b"}}), Options::default()), chunks);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&stream), expected);
    let response = check(&stream);
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello \"you\"\n");
    assert_eq!((&response["model"], &response["metadata"]), (&json!("groq/gpt-oss"), &json!({"a": "b"})));
    let usage = &response["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]),
        (&json!(20), &json!(9), &json!(29))
    );
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 16);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 4);
    assert_eq!(response["store"], false);
}

#[test]
fn calls_return_in_the_kind_in_which_their_tool_was_declared() {
    let patch = r#"{"input":"*** Begin\n\u00e9"}"#;
    let chunks = vec![
        chunk(&json!({"content": "Let me."}), None),
        chunk(&call(0, Some("c0"), Some("ns__g"), "{\"a\""), None),
        chunk(&call(0, None, None, ":1}"), None),
        chunk(&call(1, Some("c1"), Some("apply_patch"), &patch[..12]), None),
        chunk(&call(1, None, None, &patch[12..]), None),
        chunk(&call(2, Some("c2"), Some("ns__c"), patch), None),
        chunk(&call(3, Some("c3"), Some("unheard_of"), "{}"), Some("tool_calls")),
    ];
    let stream = stream(encoder(&json!({}), Options::default()), chunks);
    let response = check(&stream);
    let output = response["output"].as_array().unwrap();
    let of = |at: usize, name: &str| output[at].get(name).cloned().unwrap_or_default();
    let row = |at| ["type", "call_id", "namespace", "name"].map(|name| of(at, name));
    assert_eq!(json!(row(1)), json!(["function_call", "c0", "ns", "g"]));
    assert_eq!(json!(row(2)), json!(["custom_tool_call", "c1", null, "apply_patch"]));
    assert_eq!(json!(row(3)), json!(["custom_tool_call", "c2", "ns", "c"]));
    assert_eq!(json!(row(4)), json!(["function_call", "c3", null, "unheard_of"]));
    assert_eq!(json!([of(1, "arguments"), of(2, "input")]), json!([r#"{"a":1}"#, "*** Begin\n\u{e9}"]));
    let closed =
        events(&stream).iter().position(|e| e["type"] == "response.output_item.done" && e["output_index"] == 1);
    let next = events(&stream).iter().position(|e| e["type"] == "response.output_item.added" && e["output_index"] == 2);
    assert!(closed < next, "a complete call is done before the next begins");
}

#[test]
fn interleaved_calls_stay_apart() {
    let chunks = vec![
        chunk(&call(0, Some("c0"), Some("f"), "{\"a\":"), None),
        chunk(&call(1, Some("c1"), Some("f"), "{\"b\":"), None),
        chunk(&call(0, None, None, "0}"), None),
        chunk(&call(1, None, None, "1}"), Some("tool_calls")),
    ];
    let response = check(&stream(encoder(&json!({}), Options::default()), chunks));
    assert_eq!(response["output"][0]["arguments"], "{\"a\":0}");
    assert_eq!(response["output"][1]["arguments"], "{\"b\":1}");
}

#[test]
fn reasoning_has_the_form_that_was_requested_and_is_sealed_on_request() {
    let chunks = || {
        vec![
            chunk(&json!({"reasoning": "Hm."}), None),
            chunk(&json!({"reasoning_content": " Yes."}), None),
            chunk(&json!({"content": "Yes"}), Some("stop")),
        ]
    };
    let plain = check(&stream(encoder(&json!({}), Options::default()), chunks()));
    assert_eq!(plain["output"][0]["content"], json!([{"type": "reasoning_text", "text": "Hm. Yes."}]));
    assert_eq!(plain["output"][0].get("encrypted_content"), None);
    let members = json!({"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]});
    let summary = stream(encoder(&members, Options::default()), chunks());
    assert!(kinds(&summary).contains(&"reasoning_summary_text.delta".to_owned()));
    let item = check(&summary)["output"][0].clone();
    assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "Hm. Yes."}]));
    let again = json!({"input": [item, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"}]});
    let options = Options { sealer: Some(sealer()), ..Options::default() };
    let decoded = decode(&Bytes::from(again.to_string()), options).unwrap_or_else(|e| panic!("{}", e.message));
    assert!(String::from_utf8_lossy(&decoded.request.body).contains(r#""reasoning_content":"Hm. Yes.""#));
}

#[test]
fn a_refusal_is_its_own_part() {
    let chunks = vec![chunk(&json!({"content": "I"}), None), chunk(&json!({"refusal": "won't"}), Some("stop"))];
    let response = check(&stream(encoder(&json!({}), Options::default()), chunks));
    assert_eq!(response["output"][0]["content"][1], json!({"type": "refusal", "refusal": "won't"}));
}

#[test]
fn a_cut_by_length_is_incomplete_except_towards_codex() {
    let chunks = || vec![chunk(&json!({"content": "I"}), Some("length"))];
    let response = check(&stream(encoder(&json!({}), Options::default()), chunks()));
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(response["output"][0]["status"], "incomplete");
    let manners = Manners { is_codex: true, sleeps_in_stream: true };
    let codex = check(&stream(encoder(&json!({}), Options { manners, ..Options::default() }), chunks()));
    assert_eq!(codex["status"], "completed");
    let filtered = vec![chunk(&json!({}), Some("content_filter"))];
    let filtered = check(&stream(encoder(&json!({}), Options::default()), filtered));
    assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
}

#[test]
fn a_failure_is_never_a_completed_response() {
    let mut encoder = encoder(&json!({}), Options::default());
    let mut out = Vec::new();
    encoder.keep_alive(&mut out);
    encoder.begin(&info(), &mut out);
    encoder.chunk(chunk(&json!({"content": "half"}), None), &mut out);
    encoder.fail(&Failure::upstream("groq: cut"), &mut out);
    let response = check(&out);
    assert_eq!(response["error"], json!({"code": "server_error", "message": "groq: cut"}));
    assert_eq!(response["output"][0]["content"][0]["text"], "half");
    assert_eq!(kinds(&out)[2], "keepalive");
}

#[test]
fn a_refusal_names_the_time_that_codex_sleeps() {
    let refusal = |retry_ms| Failure {
        status: 429,
        kind: "rate_limit_error".into(),
        code: Some("budget_exhausted".into()),
        param: None,
        message: "Every candidate is at its limit.".into(),
        retry_ms,
    };
    let manners = Manners { is_codex: true, sleeps_in_stream: true };
    let mut encoder = encoder(&json!({}), Options { manners, ..Options::default() });
    assert!(encoder.refuses_in_stream(&refusal(Some(60_000))));
    assert!(!encoder.refuses_in_stream(&refusal(Some(61_000))) && !encoder.refuses_in_stream(&refusal(None)));
    assert!(!self::encoder(&json!({}), Options::default()).refuses_in_stream(&refusal(Some(1))));
    let mut out = Vec::new();
    encoder.fail(&refusal(Some(11_101)), &mut out);
    let error = &check(&out)["error"];
    assert_eq!(error["code"], "rate_limit_exceeded");
    assert!(error["message"].as_str().unwrap().ends_with("try again in 11.2s"), "{error}");
}

#[test]
fn a_whole_answer_is_the_object_of_its_stream() {
    let message = json!({"role": "assistant", "content": "Yes", "reasoning": "Hm.", "tool_calls": [
        {"id": "c0", "type": "function", "function": {"name": "apply_patch", "arguments": "{\"input\":\"x\"}"}},
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let completion = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let mut encoder = encoder(&json!({}), Options::default());
    let body = encoder.whole(&info(), Chunk::read(completion.to_string().as_bytes()).unwrap());
    let response: Value = serde_json::from_slice(&body).unwrap();
    RESPONSES.check("response", &response).unwrap();
    OPENAI.check("response", &response).unwrap();
    let kinds: Vec<_> =
        response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "custom_tool_call", "function_call"]);
    assert_eq!((&response["status"], &response["model"]), (&json!("completed"), &json!("groq/gpt-oss")));
}

#[test]
fn a_compaction_is_one_sealed_item() {
    let members = json!({"input": [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]});
    let chunks =
        || vec![chunk(&json!({"reasoning": "Hm."}), None), chunk(&json!({"content": "The sum."}), Some("stop"))];
    let response = check(&stream(encoder(&members, Options::default()), chunks()));
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
    assert_eq!(response["output"][0]["type"], "compaction");
    assert!(!response.to_string().contains("The sum."));
    let options = Options { purpose: Purpose::Compact, ..Options::default() };
    let body = encoder(&json!({"stream": null}), options).whole(&info(), chunks().pop().unwrap());
    let compacted: Value = serde_json::from_slice(&body).unwrap();
    RESPONSES.check("compacted", &compacted).unwrap();
    let next = json!({"input": [compacted["output"][0], {"role": "user", "content": "go on"}]});
    let options = Options { sealer: Some(sealer()), ..Options::default() };
    let decoded = decode(&Bytes::from(next.to_string()), options).unwrap_or_else(|e| panic!("{}", e.message));
    assert!(String::from_utf8_lossy(&decoded.request.body).contains("The sum."));
}

/// One piece of a random answer.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Reasoning(String),
    Refusal(String),
    /// A fragment of the call with this number, of the tool with this number.
    Call(u64, usize, String),
    KeepAlive,
}

fn piece() -> impl Strategy<Value = Piece> {
    let text = "[a-z\"\\\\\n\u{e9}\u{1F600}]{0,6}";
    let fragment = prop_oneof![Just("{\"input\":\"".to_owned()), Just("\"}".to_owned()), "[a-z0-9\\\\{}:\" ]{0,6}"];
    prop_oneof![
        3 => text.prop_map(Piece::Text),
        2 => text.prop_map(Piece::Reasoning),
        1 => text.prop_map(Piece::Refusal),
        4 => (0..4u64, 0..6usize, fragment).prop_map(|(call, tool, fragment)| Piece::Call(call, tool, fragment)),
        1 => Just(Piece::KeepAlive),
    ]
}

/// How a random answer ends.
#[derive(Debug, Clone)]
enum Ending {
    Finish(&'static str),
    Cut,
    /// The end comes before any chunk.
    Refused,
}

proptest! {
    #[test]
    fn any_answer_keeps_the_rules(
        pieces in proptest::collection::vec(piece(), 0..24),
        ending in prop_oneof![
            3 => proptest::sample::select(vec!["stop", "tool_calls", "length", "content_filter"]).prop_map(Ending::Finish),
            1 => Just(Ending::Cut),
            1 => Just(Ending::Refused),
        ],
        summary in any::<bool>(),
        counted in any::<bool>(),
        is_codex in any::<bool>(),
    ) {
        let members = json!({"reasoning": {"summary": if summary { json!("auto") } else { Value::Null }}});
        let manners = Manners { is_codex, sleeps_in_stream: is_codex };
        let mut encoder = encoder(&members, Options { manners, ..Options::default() });
        let mut out = Vec::new();
        let mut begun = [false; 4];
        let (mut text, mut reasoning, mut refusal) = (String::new(), String::new(), String::new());
        if !matches!(ending, Ending::Refused) {
            encoder.begin(&info(), &mut out);
            for piece in pieces {
                let delta = match piece {
                    Piece::KeepAlive => {
                        encoder.keep_alive(&mut out);
                        continue;
                    }
                    Piece::Text(delta) => {
                        text.push_str(&delta);
                        json!({ "content": delta })
                    }
                    Piece::Reasoning(delta) => {
                        reasoning.push_str(&delta);
                        json!({ "reasoning": delta })
                    }
                    Piece::Refusal(delta) => {
                        refusal.push_str(&delta);
                        json!({ "refusal": delta })
                    }
                    Piece::Call(index, tool, fragment) => {
                        let at = usize::try_from(index).unwrap();
                        let names = ["f", "apply_patch", "ns__g", "ns__c", "unheard_of", "tool_search"];
                        let first = !std::mem::replace(&mut begun[at], true);
                        let id = format!("c{index}");
                        call(index, first.then_some(id.as_str()), first.then_some(names[tool]), &fragment)
                    }
                };
                encoder.chunk(chunk(&delta, None), &mut out);
            }
            if counted {
                encoder.chunk(usage(), &mut out);
            }
        }
        match ending {
            Ending::Finish(reason) => {
                encoder.chunk(chunk(&json!({}), Some(reason)), &mut out);
                encoder.finish(&mut out);
            }
            Ending::Cut | Ending::Refused => encoder.fail(&Failure::upstream("cut"), &mut out),
        }
        let response = check(&out);
        let parts: Vec<&Value> = response["output"].as_array().unwrap().iter().flat_map(|item| {
            ["content", "summary"].into_iter().filter_map(|member| item[member].as_array()).flatten()
        }).collect();
        let written = |kinds: &[&str], member: &str| -> String {
            let of_kind = parts.iter().filter(|part| kinds.contains(&part["type"].as_str().unwrap()));
            of_kind.map(|part| part[member].as_str().unwrap()).collect()
        };
        prop_assert_eq!(written(&["output_text"], "text"), text);
        prop_assert_eq!(written(&["reasoning_text", "summary_text"], "text"), reasoning);
        prop_assert_eq!(written(&["refusal"], "refusal"), refusal);
        prop_assert_eq!(response["usage"].is_null(), !counted || response["status"] == "failed");
    }
}
