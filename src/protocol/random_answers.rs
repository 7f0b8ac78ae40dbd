//! Random answers of a model, for the property tests of the protocols: as the chunks of a stream, split anywhere, and as a whole.

use proptest::prelude::*;
use serde_json::{Value, json};

/// What a model says, in order.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Thought(String),
    Text(String),
    Refusal(String),
    /// Calls whose fragments may be mixed: the number of a tool, and the text that it is called with.
    Calls(Vec<(usize, String)>),
}

/// A tool's name in the chat completion, and its only argument.
pub(super) type Tool = (&'static str, &'static str);

/// Everything that was said. Calls are `[id, name, arguments]`, sorted, because parallel calls may begin in any order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gathered {
    pub thoughts: String,
    pub text: String,
    pub refusal: String,
    pub calls: Vec<Value>,
}

impl Gathered {
    pub(super) fn of(said: &[Said], tools: &[Tool]) -> Self {
        let mut all = Self::default();
        for one in said {
            match one {
                Said::Thought(text) => all.thoughts.push_str(text),
                Said::Text(text) => all.text.push_str(text),
                Said::Refusal(text) => all.refusal.push_str(text),
                Said::Calls(calls) => {
                    for call in calls {
                        let (id, name, arguments) = described(all.calls.len(), call, tools);
                        all.calls.push(json!([id, name, arguments]));
                    }
                }
            }
        }
        all.sorted()
    }

    /// What an assistant has said in the messages of a chat completion, where blank lines part its texts.
    pub(super) fn in_history(chat: &Value) -> Self {
        let mut all = Self::default();
        let messages = chat["messages"].as_array().unwrap();
        for message in messages.iter().filter(|message| message["role"] == "assistant") {
            let text = |name: &str| message[name].as_str().unwrap_or_default().replace("\n\n", "");
            all.thoughts += &text("reasoning_content");
            all.text += &text("content");
            all.refusal += &text("refusal");
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
                all.calls.push(json!([call["id"], call["function"]["name"], arguments]));
            }
        }
        all.sorted()
    }

    pub(super) fn sorted(mut self) -> Self {
        self.calls.sort_by_key(Value::to_string);
        self
    }
}

fn described(number: usize, (tool, text): &(usize, String), tools: &[Tool]) -> (String, &'static str, Value) {
    let (name, argument) = tools[tool % tools.len()];
    (format!("call {number}"), name, json!({ argument: text }))
}

pub(super) fn said() -> impl Strategy<Value = Vec<Said>> {
    let one = prop_oneof![
        "\\PC{1,12}".prop_map(Said::Thought),
        "\\PC{1,12}".prop_map(Said::Text),
        "[a-z ]{1,8}".prop_map(Said::Refusal),
        proptest::collection::vec((0..8_usize, "\\PC{0,10}"), 1..4).prop_map(Said::Calls),
    ];
    proptest::collection::vec(one, 0..6)
}

fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Splits a text at characters chosen by `seed`.
fn split(text: &str, seed: &mut u64) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        if next(seed).is_multiple_of(4) {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(c);
    }
    pieces
}

fn delta(delta: &Value) -> Value {
    json!({ "id": "c", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

/// The chunks of a stream that says this, without its end.
pub(super) fn chunks(said: &[Said], tools: &[Tool], mut seed: u64) -> Vec<Value> {
    let (mut chunks, mut number) = (vec![delta(&json!({ "role": "assistant", "content": "" }))], 0);
    for one in said {
        let (name, text) = match one {
            Said::Thought(text) => ("reasoning", text),
            Said::Text(text) => ("content", text),
            Said::Refusal(text) => ("refusal", text),
            Said::Calls(all) => {
                let mut fragments: Vec<Vec<Value>> = Vec::new();
                for call in all {
                    let (id, name, arguments) = described(number, call, tools);
                    let pieces = split(&arguments.to_string(), &mut seed).into_iter().enumerate().map(|(n, piece)| {
                        let mut call = json!({ "index": number, "function": { "arguments": piece } });
                        if n == 0 {
                            call["id"] = id.clone().into();
                            call["function"]["name"] = name.into();
                        }
                        call
                    });
                    fragments.push(pieces.rev().collect());
                    number += 1;
                }
                while fragments.iter().any(|rest| !rest.is_empty()) {
                    let at = usize::try_from(next(&mut seed)).unwrap() % fragments.len();
                    chunks.extend(fragments[at].pop().map(|call| delta(&json!({ "tool_calls": [call] }))));
                }
                continue;
            }
        };
        chunks.extend(split(text, &mut seed).into_iter().map(|piece| delta(&json!({ name: piece }))));
    }
    chunks
}

/// The chat completion that says this, without its usage.
pub(super) fn whole(said: &[Said], tools: &[Tool]) -> Value {
    let all = Gathered::of(said, tools);
    let calls = all.calls.iter().map(|call| {
        json!({ "id": call[0], "type": "function", "function": { "name": call[1], "arguments": call[2].to_string() } })
    });
    let message = json!({ "role": "assistant", "content": all.text, "reasoning_content": all.thoughts,
        "refusal": (!all.refusal.is_empty()).then_some(all.refusal), "tool_calls": calls.collect::<Vec<_>>() });
    json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] })
}
