//! The protocol as its clients see it.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MessagesEncoder, MessagesRequest, decode, tool_id};
use crate::protocol::{
    BadRequest, Encoder, Failure, ReplyInfo,
    chat::{Chunk, StreamEvent},
    json_schema::ANTHROPIC,
    random_answers::{Gathered, Said, Tool, chunks, said, whole},
};

fn read(request: &Value) -> Result<(MessagesRequest, Value), BadRequest> {
    let read = decode(Bytes::from(request.to_string()))?;
    let chat = serde_json::from_slice(&read.request.body).unwrap();
    Ok((read, chat))
}

/// The chat completion that a request becomes. `more` is added to the least that a request must have.
fn chat(more: &Value) -> Value {
    read(&with(more)).unwrap().1
}

fn with(more: &Value) -> Value {
    let mut request = json!({ "model": "free", "max_tokens": 99, "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn mistake(more: &Value) -> (String, String) {
    let bad = read(&with(more)).err().unwrap();
    (bad.param.unwrap(), bad.message)
}

#[test]
fn a_question_becomes_a_chat_completion() {
    let system = json!([{ "type": "text", "text": "Be \"brief\"", "cache_control": { "type": "ephemeral" } }, { "type": "text", "text": "é\u{1}" }]);
    let request = json!({ "system": system, "stream": true, "temperature": 0.3, "top_k": 5, "stop_sequences": ["END"],
        "metadata": { "user_id": "u1" }, "context_management": { "edits": [] }, "service_tier": "auto" });
    let chat = chat(&request);
    let messages =
        json!([{ "role": "system", "content": "Be \"brief\"\n\né\u{1}" }, { "role": "user", "content": "hi" }]);
    let expected = json!({ "model": "free", "max_tokens": 99, "messages": messages, "stream": true, "temperature": 0.3, "top_k": 5,
        "stop": ["END"], "user": "u1" });
    assert_eq!(chat, expected);
}

#[test]
fn a_tool_dialogue_keeps_calls_results_and_their_order() {
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "weather?" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "x" },
            { "type": "text", "text": "Let me see" },
            { "type": "tool_use", "id": "t1", "name": "get", "input": { "city": "Köln \"x\"" } },
            { "type": "tool_use", "id": "t2", "name": "get", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "text", "text": "by the way" },
            { "type": "tool_result", "tool_use_id": "t1", "content": "12°" },
            { "type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{ "type": "text", "text": "no such city" }] },
        ] },
    ]);
    let call = |id: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": "get", "arguments": arguments } });
    let expected = json!([
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": "Let me see", "tool_calls": [call("t1", "{\"city\":\"Köln \\\"x\\\"\"}"), call("t2", "{}")] },
        { "role": "tool", "tool_call_id": "t1", "content": "12°" },
        { "role": "tool", "tool_call_id": "t2", "content": "Error: no such city" },
        { "role": "user", "content": "by the way" },
    ]);
    assert_eq!(chat(&json!({ "messages": messages }))["messages"], expected);
}

#[test]
fn images_and_documents_become_parts_also_those_of_tool_results() {
    let png = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } });
    let url = json!({ "type": "image", "source": { "type": "url", "url": "https://x.example/a.png" } });
    let text = json!({ "type": "document", "title": "Notes", "source": { "type": "text", "media_type": "text/plain", "data": "body" } });
    let pdf =
        json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBE" } });
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "see" }, url, text, pdf] },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "shot", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "done" }, png] }] },
    ]);
    let (read, chat) = read(&with(&json!({ "messages": messages }))).unwrap();
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let first = json!([
        { "type": "text", "text": "see" }, image("https://x.example/a.png"), { "type": "text", "text": "Notes:\n\nbody" },
        { "type": "file", "file": { "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE" } },
    ]);
    assert_eq!(chat["messages"][0]["content"], first);
    assert_eq!(chat["messages"][2]["role"], "tool");
    assert!(chat["messages"][2]["content"].as_str().unwrap().starts_with("done\n["));
    assert_eq!(chat["messages"][3]["content"][1], image("data:image/png;base64,AAAA"));
    assert_eq!(read.request.images, 2);
}

#[test]
fn tools_choices_thinking_and_structured_output_have_their_twins() {
    let tool = json!({ "name": "f", "description": "d", "input_schema": { "type": "object" }, "strict": true, "defer_loading": true });
    let tools = json!([tool, { "type": "web_search_20250305", "name": "web_search" }]);
    let schema = json!({ "type": "object", "additionalProperties": false });
    let request = json!({ "tools": tools, "tool_choice": { "type": "tool", "name": "f", "disable_parallel_tool_use": true },
        "thinking": { "type": "enabled", "budget_tokens": 5000 }, "output_config": { "format": { "type": "json_schema", "schema": schema } } });
    let (read, chat) = read(&with(&request)).unwrap();
    let function = json!({ "name": "f", "description": "d", "parameters": { "type": "object" } });
    assert_eq!(chat["tools"], json!([{ "type": "function", "function": function }]));
    assert_eq!(chat["tool_choice"], json!({ "type": "function", "function": { "name": "f" } }));
    assert_eq!((&chat["parallel_tool_calls"], &chat["reasoning_effort"]), (&json!(false), &json!("medium")));
    assert_eq!(chat["response_format"]["json_schema"]["schema"], schema);
    assert_eq!(read.dropped, ["web_search_20250305"]);
    for (given, expected) in [("any", json!("required")), ("none", json!("none")), ("auto", Value::Null)] {
        let request = json!({ "tools": tools, "tool_choice": { "type": given } });
        assert_eq!(self::chat(&request)["tool_choice"], expected, "{given}");
    }
    let effort = |more: &Value| self::chat(more)["reasoning_effort"].clone();
    assert_eq!(effort(&json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "max" } })), "max");
    assert_eq!(effort(&json!({ "thinking": { "type": "disabled" } })), "none");
    assert_eq!(effort(&json!({ "thinking": { "type": "adaptive" } })), Value::Null);
}

#[test]
fn a_mistake_names_its_path() {
    let block = |block: Value| json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "user", "content": [block] }] });
    for (more, path) in [
        (json!({ "max_tokens": "many" }), "max_tokens"),
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0].content"),
        (block(json!({ "type": "hologram" })), "messages[1].content[0].type"),
        (block(json!({ "text": "x" })), "messages[1].content[0].type"),
        (block(json!({ "type": "text" })), "messages[1].content[0].text"),
        (
            block(json!({ "type": "image", "source": { "type": "file", "file_id": "f" } })),
            "messages[1].content[0].source.type",
        ),
        (block(json!({ "type": "tool_result", "content": "x" })), "messages[1].content[0].tool_use_id"),
        (
            block(json!({ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "hologram" }] })),
            "messages[1].content[0].content[0].type",
        ),
        (json!({ "system": [{ "type": "image" }] }), "system[0].type"),
        (json!({ "tools": [{ "name": "f" }] }), "tools[0].input_schema"),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice.type"),
        (json!({ "tool_choice": { "type": "tool", "name": "g" } }), "tool_choice.name"),
        (json!({ "thinking": { "type": "enabled" } }), "thinking.budget_tokens"),
        (json!({ "output_config": { "effort": "huge" } }), "output_config.effort"),
        (json!({ "temperature": 1.5 }), "temperature"),
        (json!({ "stream": "yes" }), "stream"),
    ] {
        let (param, message) = mistake(&more);
        assert_eq!(param, path, "{more}: {message}");
        assert!(message.starts_with(path), "{message}");
    }
    let malformed = decode(Bytes::from_static(b"{\"model\": free}")).err().unwrap();
    assert!(malformed.message.contains("line 1 column 11"), "{}", malformed.message);
}

/// An event of the stream, and its data.
type Event = (String, Value);

fn events(out: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(out).unwrap();
    let frames = text.strip_suffix("\n\n").unwrap_or(text).split("\n\n").filter(|frame| !frame.is_empty());
    frames
        .map(|frame| {
            let (name, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            let definition = if name == "error" { "error" } else { "event" };
            if name != "ping" {
                ANTHROPIC.check(definition, &data).unwrap_or_else(|e| panic!("{e}\n{data}"));
            }
            (name.to_owned(), data)
        })
        .collect()
}

fn info() -> ReplyInfo {
    ReplyInfo { model: Arc::from("groq/llama"), prompt_tokens: 7 }
}

/// Encodes chunks as a stream. `end` writes what comes behind them.
fn encode(more: &Value, chunks: &[Value], end: impl FnOnce(&mut MessagesEncoder, &mut Vec<u8>)) -> Vec<Event> {
    let mut encoder = read(&with(more)).unwrap().0.encoder;
    let mut out = Vec::new();
    encoder.begin(&info(), &mut out);
    for chunk in chunks {
        match StreamEvent::read(format!("data: {chunk}\n\n").as_bytes()) {
            StreamEvent::Chunk(chunk) => encoder.chunk(*chunk, &mut out),
            other => panic!("{other:?}"),
        }
    }
    end(&mut encoder, &mut out);
    events(&out)
}

/// What Anthropic's SDKs do with the events: they add up a message, and fail where a rule is broken.
fn accumulate(events: &[Event]) -> Value {
    let mut events = events.iter().filter(|(name, _)| name != "ping");
    let (first, data) = events.next().unwrap();
    assert_eq!((first.as_str(), &data["type"]), ("message_start", &json!("message_start")));
    let mut message = data["message"].clone();
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    let (mut open, mut json_text, mut ended) = (None, String::new(), false);
    for (name, data) in events {
        assert!(!ended, "{name} behind the end");
        assert_eq!(&data["type"], name);
        let index = data["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        let content = message["content"].as_array_mut().unwrap();
        match name.as_str() {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(content.len())));
                open = index;
                json_text.clear();
                let block = data["content_block"].clone();
                if block["type"] == "tool_use" {
                    assert_eq!(block["input"], json!({}));
                    assert!(
                        block["id"]
                            .as_str()
                            .unwrap()
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                    );
                }
                content.push(block);
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let block = &mut content[index.unwrap()];
                let delta = &data["delta"];
                let (kind, field) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "signature_delta" => ("thinking", "signature"),
                    "input_json_delta" => {
                        json_text.push_str(delta["partial_json"].as_str().unwrap());
                        assert_eq!(block["type"], "tool_use");
                        continue;
                    }
                    other => panic!("{other}"),
                };
                assert_eq!(block["type"], kind);
                let joined = block[field].as_str().unwrap().to_owned() + delta[field].as_str().unwrap();
                block[field] = joined.into();
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index);
                let block = content.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&json_text).unwrap_or(Value::Null);
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                for (field, value) in
                    data["delta"].as_object().unwrap().iter().chain([(&"usage".to_owned(), &data["usage"])])
                {
                    message[field] = value.clone();
                }
            }
            "message_stop" => ended = true,
            other => panic!("{other}"),
        }
    }
    assert!(ended, "no message_stop");
    ANTHROPIC.check("message", &message).unwrap_or_else(|e| panic!("{e}\n{message}"));
    message
}

fn delta(delta: Value) -> Value {
    let mut choice = json!({ "index": 0, "finish_reason": null });
    choice["delta"] = delta;
    json!({ "id": "c", "choices": [choice] })
}

fn end(reason: &str) -> Value {
    json!({ "id": "c", "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn usage() -> Value {
    let details = json!({ "cached_tokens": 40 });
    json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150, "prompt_tokens_details": details } })
}

#[test]
fn a_stream_with_thinking_text_and_tools_is_a_message() {
    let call = |at: usize, id: &str, arguments: &str| {
        delta(json!({ "tool_calls": [{ "index": at, "id": id, "function": { "name": "f", "arguments": arguments } }] }))
    };
    let more = |at: usize, arguments: &str| {
        delta(json!({ "tool_calls": [{ "index": at, "function": { "arguments": arguments } }] }))
    };
    let chunks = [
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "reasoning": "let " })),
        delta(json!({ "reasoning": "me" })),
        delta(json!({ "content": "Hel" })),
        delta(json!({ "content": "lo" })),
        call(0, "functions.f:0", "{\"a\""),
        call(1, "c2", "{}"),
        more(0, ":1}"),
        end("tool_calls"),
        usage(),
    ];
    let thinking = json!({ "thinking": { "type": "adaptive" } });
    let events = encode(&thinking, &chunks, Encoder::finish);
    let started = &events[0].1["message"];
    assert_eq!((&started["usage"]["input_tokens"], &started["model"]), (&json!(7), &json!("groq/llama")));
    let message = accumulate(&events);
    let content = message["content"].as_array().unwrap();
    assert_eq!((&content[0]["thinking"], &content[1]["text"]), (&json!("let me"), &json!("Hello")));
    assert!(!content[0]["signature"].as_str().unwrap().is_empty());
    assert_eq!(
        (&content[2]["input"], &content[3]["input"], &content[3]["id"]),
        (&json!({ "a": 1 }), &json!({}), &json!("c2"))
    );
    assert_eq!(message["stop_reason"], "tool_use");
    let usage = json!({ "input_tokens": 60, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 40, "output_tokens": 50 });
    assert_eq!(message["usage"], usage);
    // Without thinking in the request, the text comes first.
    let message = accumulate(&encode(&json!({}), &chunks, Encoder::finish));
    assert_eq!(message["content"][0]["type"], "text");
    // An id in other characters comes back as it was.
    let id = &message["content"][1]["id"];
    let history = json!([{ "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": id, "name": "f", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id }] }]);
    let chat = chat(&json!({ "messages": history }));
    assert_eq!(chat["messages"][1]["tool_calls"][0]["id"], "functions.f:0");
    assert_eq!(chat["messages"][2]["tool_call_id"], "functions.f:0");
}

#[test]
fn a_short_thought_signature_rides_in_the_id() {
    let extra = json!({ "google": { "thought_signature": "EpwC+/==" } });
    let call =
        json!({ "index": 0, "id": "fc-1", "extra_content": extra, "function": { "name": "f", "arguments": "{}" } });
    let message =
        accumulate(&encode(&json!({}), &[delta(json!({ "tool_calls": [call] })), end("tool_calls")], Encoder::finish));
    let block = &message["content"][0];
    let history = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": [block] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": block["id"], "content": "y" }] }]);
    let chat = chat(&json!({ "messages": history }));
    let restored = &chat["messages"][1]["tool_calls"][0];
    assert_eq!((&restored["id"], &restored["extra_content"]), (&json!("fc-1"), &extra));
}

#[test]
fn every_end_has_its_stop_reason() {
    let stops = json!({ "stop_sequences": ["END"] });
    let mut named = end("stop");
    named["choices"][0]["stop_reason"] = "END".into();
    for (last, reason, sequence) in [
        (end("stop"), "end_turn", Value::Null),
        (end("length"), "max_tokens", Value::Null),
        (end("content_filter"), "refusal", Value::Null),
        (end("tool_calls"), "tool_use", Value::Null),
        (named, "stop_sequence", json!("END")),
    ] {
        let message = accumulate(&encode(&stops, &[delta(json!({ "content": "x" })), last], Encoder::finish));
        assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!(reason), &sequence));
    }
    let refused = [delta(json!({ "refusal": "No." })), end("stop")];
    let message = accumulate(&encode(&json!({}), &refused, Encoder::finish));
    assert_eq!((&message["stop_reason"], &message["content"][0]["text"]), (&json!("refusal"), &json!("No.")));
}

#[test]
fn a_cut_stream_closes_its_block_and_never_stops_in_good_order() {
    let events = encode(&json!({}), &[delta(json!({ "content": "x" }))], |encoder, out| {
        encoder.keep_alive(out);
        encoder.fail(&Failure::upstream("groq: cut"), out);
    });
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[3..], ["ping", "content_block_stop", "error"]);
    assert_eq!(events.last().unwrap().1["error"], json!({ "type": "api_error", "message": "groq: cut" }));
}

#[test]
fn an_answer_of_no_tokens_is_a_message_at_once() {
    let mut read = read(&with(&json!({ "max_tokens": 0 }))).unwrap().0;
    assert!(read.is_empty);
    let message: Value = serde_json::from_slice(&read.encoder.empty(&info(), false)).unwrap();
    assert_eq!((&message["stop_reason"], &message["content"]), (&json!("max_tokens"), &json!([])));
    assert_eq!(message["usage"]["input_tokens"], 7);
    let streamed = self::read(&with(&json!({ "max_tokens": 0 }))).unwrap().0.encoder.empty(&info(), true);
    assert_eq!(accumulate(&events(&streamed))["stop_reason"], "max_tokens");
}

/// Thoughts, texts and calls of a message. A refusal is a text there.
fn gathered(message: &Value) -> Gathered {
    let content = message["content"].as_array().unwrap();
    let joined = |field: &str| content.iter().filter_map(|block| block[field].as_str()).collect();
    let calls = content.iter().filter(|block| block["type"] == "tool_use").map(|block| {
        let id = tool_id::restore(block["id"].as_str().unwrap()).0;
        json!([id, block["name"], block["input"]])
    });
    Gathered { thoughts: joined("thinking"), text: joined("text"), calls: calls.collect(), ..Gathered::default() }
        .sorted()
}

/// The message as the history of the next request, in which thoughts are left out.
fn in_history(message: &Value) -> Gathered {
    let calls = message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use");
    let results: Vec<Value> = calls
        .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "done" }))
        .chain([json!({ "type": "text", "text": "go on" })])
        .collect();
    let said = json!({ "role": "assistant", "content": message["content"] });
    let history = json!([{ "role": "user", "content": "x" }, said, { "role": "user", "content": results }]);
    Gathered::in_history(&chat(&json!({ "messages": history })))
}

const TOOLS: [Tool; 2] = [("f", "city"), ("a_longer_name", "input")];

proptest! {
    #[test]
    fn any_stream_becomes_a_valid_message_with_all_that_was_said_and_that_a_history(
        said in said(), seed: u64, cut in 0..40_usize, is_cut: bool
    ) {
        let mut chunks = chunks(&said, &TOOLS, seed);
        let thinking = json!({ "thinking": { "type": "adaptive" } });
        if is_cut {
            chunks.truncate(cut);
            let events = encode(&thinking, &chunks, |encoder, out| encoder.fail(&Failure::upstream("cut"), out));
            prop_assert_eq!(&events.last().unwrap().0, "error");
            let (starts, stops) = (count(&events, "content_block_start"), count(&events, "content_block_stop"));
            prop_assert_eq!((starts, count(&events, "message_stop")), (stops, 0));
        } else {
            chunks.extend([end("stop"), usage()]);
            let message = accumulate(&encode(&thinking, &chunks, Encoder::finish));
            let in_order = said.iter().filter_map(|one| match one {
                Said::Text(text) | Said::Refusal(text) => Some(text.as_str()),
                _ => None,
            });
            let expected = Gathered { text: in_order.collect(), refusal: String::new(), ..Gathered::of(&said, &TOOLS) };
            prop_assert_eq!(&gathered(&message), &expected);
            prop_assert_eq!(in_history(&message), Gathered { thoughts: String::new(), ..expected });
            prop_assert_eq!(&message["usage"]["output_tokens"], 50);
        }
    }

    #[test]
    fn a_whole_answer_says_the_same_as_a_stream(said in said()) {
        let mut completion = whole(&said, &TOOLS);
        completion["usage"] = usage()["usage"].clone();
        let mut encoder = read(&with(&json!({ "thinking": { "type": "adaptive" } }))).unwrap().0.encoder;
        let body = encoder.whole(&info(), Chunk::read(completion.to_string().as_bytes()).unwrap());
        let message: Value = serde_json::from_slice(&body).unwrap();
        prop_assert!(ANTHROPIC.check("message", &message).is_ok(), "{:?}", ANTHROPIC.check("message", &message));
        let all = Gathered::of(&said, &TOOLS);
        let expected = Gathered { text: format!("{}{}", all.text, all.refusal), refusal: String::new(), ..all };
        prop_assert_eq!(&gathered(&message), &expected);
        prop_assert_eq!(in_history(&message), Gathered { thoughts: String::new(), ..expected });
    }
}

fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|(known, _)| known == name).count()
}
