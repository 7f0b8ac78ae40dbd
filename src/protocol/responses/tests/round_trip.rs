//! Random answers as responses, streamed and whole, and those responses as the history of the next request: nothing is lost.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{decode, rules::check};
use crate::protocol::{
    Decoded, ReplyInfo,
    chat::Chunk,
    json_schema::{OPENAI, RESPONSES},
    random_answers::{Gathered, Tool, chunks, said, whole},
    responses::{Options, Sealer},
};

const TOOLS: [Tool; 5] =
    [("f", "city"), ("apply_patch", "input"), ("ns__g", "city"), ("ns__c", "input"), ("unheard_of", "city")];

/// A request with these input items, for streams unless it says otherwise.
fn request(input: &Value, summary: &Value, stream: bool) -> Decoded {
    let body = json!({"model": "free", "input": input, "stream": stream, "reasoning": {"summary": summary},
    "include": ["reasoning.encrypted_content"], "tools": [
        {"type": "function", "name": "f", "description": "d"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "ns", "description": "n", "tools": [{"type": "function", "name": "g"}, {"type": "custom", "name": "c"}]},
    ]});
    let options = Options { sealer: Some(Arc::new(Sealer::new(b"key").unwrap())), ..Options::default() };
    decode(&Bytes::from(body.to_string()), options).unwrap_or_else(|e| panic!("{}", e.message))
}

fn info() -> ReplyInfo {
    ReplyInfo { model: "groq/gpt-oss".into(), prompt_tokens: 7 }
}

fn read(chunk: &Value) -> Chunk {
    Chunk::read(chunk.to_string().as_bytes()).unwrap()
}

/// What the output items say.
fn gathered(output: &[Value]) -> Gathered {
    let mut all = Gathered::default();
    for item in output {
        let parts = |member: &str| item[member].as_array().cloned().unwrap_or_default();
        let call = |arguments: Value| {
            let name = item["name"].as_str().unwrap();
            let name = item["namespace"].as_str().map_or(name.to_owned(), |space| format!("{space}__{name}"));
            json!([item["call_id"], name, arguments])
        };
        match item["type"].as_str().unwrap() {
            "reasoning" => {
                for part in parts("content").into_iter().chain(parts("summary")) {
                    all.thoughts += part["text"].as_str().unwrap();
                }
            }
            "message" => {
                for part in parts("content") {
                    all.text += part["text"].as_str().unwrap_or_default();
                    all.refusal += part["refusal"].as_str().unwrap_or_default();
                }
            }
            "function_call" => all.calls.push(call(serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap())),
            "custom_tool_call" => all.calls.push(call(json!({ "input": item["input"] }))),
            other => panic!("{other}"),
        }
    }
    all.sorted()
}

/// The output as the history of the next request.
fn in_history(output: &[Value]) -> Gathered {
    let mut input = vec![json!({"role": "user", "content": "x"})];
    input.extend_from_slice(output);
    let outputs = output.iter().filter(|item| item["call_id"].is_string()).map(|call| {
        json!({"type": format!("{}_output", call["type"].as_str().unwrap()), "call_id": call["call_id"], "output": "done"})
    });
    input.extend(outputs);
    let body = request(&json!(input), &Value::Null, false).request.body;
    Gathered::in_history(&serde_json::from_slice(&body).unwrap())
}

/// What is handed back: thoughts behind everything else belong to no answer.
fn expected_in_history(output: &[Value], all: Gathered) -> Gathered {
    let said = output.iter().rposition(|item| item["type"] != "reasoning").map_or(0, |last| last + 1);
    Gathered { thoughts: gathered(&output[..said]).thoughts, ..all }
}

fn output(response: &Value) -> &[Value] {
    response["output"].as_array().unwrap()
}

proptest! {
    #[test]
    fn any_stream_is_a_response_with_all_that_was_said_and_that_a_history(said in said(), seed: u64, summary: bool) {
        let summary = if summary { json!("auto") } else { Value::Null };
        let mut encoder = request(&json!("hi"), &summary, true).encoder.unwrap();
        let mut out = Vec::new();
        encoder.begin(&info(), &mut out);
        for chunk in chunks(&said, &TOOLS, seed) {
            encoder.chunk(read(&chunk), &mut out);
        }
        encoder.chunk(read(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})), &mut out);
        encoder.finish(&mut out);
        let response = check(&out);
        let all = Gathered::of(&said, &TOOLS);
        prop_assert_eq!(&gathered(output(&response)), &all);
        prop_assert_eq!(in_history(output(&response)), expected_in_history(output(&response), all));
    }

    #[test]
    fn a_whole_answer_says_the_same(said in said(), summary: bool) {
        let summary = if summary { json!("auto") } else { Value::Null };
        let mut encoder = request(&json!("hi"), &summary, false).encoder.unwrap();
        let body = encoder.whole(&info(), read(&whole(&said, &TOOLS)));
        let response: Value = serde_json::from_slice(&body).unwrap();
        prop_assert!(RESPONSES.check("response", &response).is_ok(), "{:?}", RESPONSES.check("response", &response));
        prop_assert!(OPENAI.check("response", &response).is_ok(), "{:?}", OPENAI.check("response", &response));
        let all = Gathered::of(&said, &TOOLS);
        prop_assert_eq!(&gathered(output(&response)), &all);
        prop_assert_eq!(in_history(output(&response)), expected_in_history(output(&response), all));
    }
}
