//! Damage of streams and whole responses that some servers send, each with what the client must get.

use serde_json::{Value, json};

use super::{
    choice_state::{ChoiceStates, Expected},
    response_reader::{ParsedResponse, ResponseShape, read},
    text_completion::as_chat,
};

fn parsed(text: &str, shape: ResponseShape, states: &mut ChoiceStates) -> (ParsedResponse, Value) {
    let mut parsed = read(text, shape, states).unwrap();
    let bytes = std::mem::take(&mut parsed.patch).apply(text);
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)));
    (parsed, value)
}

fn chunk(id: &str, delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
    )
}

fn whole(members: &str, choice: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m",{members}"choices":[{{"index":0,"message":{{"role":"assistant","content":"a"}}{choice}}}]}}"#
    )
}

#[test]
fn a_stream_keeps_the_id_that_the_client_saw_first() {
    let ids = |sent: &[&str]| -> Vec<String> {
        let mut states = ChoiceStates::new("m", Expected::default());
        let chunks = sent.iter().map(|id| chunk(id, r#"{"content":"a"}"#, "null"));
        chunks
            .map(|text| parsed(&text, ResponseShape::Chunk, &mut states).1["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&["x", "y", "", "x"]), ["x", "x", "x", "x"]);
    let own = ids(&["", "x", "y"]);
    assert!(own[0].starts_with("chatcmpl-") && own.iter().all(|id| *id == own[0]), "{own:?}");
    let odd = ids(&["a\\u0007b", "a\\u0007b"]);
    assert_eq!(odd[0], odd[1]);
}

#[test]
fn a_choice_begins_with_its_role_whether_or_not_the_provider_sends_one() {
    let roles = |deltas: &[&str]| -> Vec<Value> {
        let mut states = ChoiceStates::new("m", Expected::default());
        let chunks = deltas.iter().map(|delta| chunk("c", delta, "null"));
        chunks
            .map(|text| parsed(&text, ResponseShape::Chunk, &mut states).1["choices"][0]["delta"]["role"].take())
            .collect()
    };
    assert_eq!(
        roles(&[r#"{"content":"a"}"#, "{}", r#"{"role":"assistant"}"#]),
        [json!("assistant"), json!(null), json!(null)]
    );
    assert_eq!(roles(&["{}", r#"{"content":"a"}"#]), [json!("assistant"), json!(null)]);
    assert_eq!(roles(&["null", r#"{"content":"a"}"#]), [json!("assistant"), json!(null)]);
    let text = r#"{"id":"c","choices":[{"index":0,"text":"a"}]}"#;
    let text = as_chat(text.into(), ResponseShape::Chunk);
    let (_, value) = parsed(&text, ResponseShape::Chunk, &mut ChoiceStates::default());
    assert_eq!(value["choices"][0]["delta"], json!({"content": "a", "role": "assistant"}));
}

/// The arguments of a call whose fragments have these, with those that come behind the end.
fn arguments(fragments: &[&str]) -> String {
    let mut states = ChoiceStates::new("m", Expected::default());
    let mut joined = String::new();
    for (at, fragment) in fragments.iter().enumerate() {
        let begin = if at == 0 { r#""id":"a","type":"function","# } else { "" };
        let name = if at == 0 { r#""name":"f","# } else { "" };
        let delta = format!(
            r#"{{"tool_calls":[{{"index":0,{begin}"function":{{{name}"arguments":{}}}}}]}}"#,
            Value::from(*fragment)
        );
        let (_, value) = parsed(&chunk("c", &delta, "null"), ResponseShape::Chunk, &mut states);
        joined += value["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default();
    }
    let end = parsed(&chunk("c", "{}", "\"tool_calls\""), ResponseShape::Chunk, &mut states).0;
    for (_, delta, reason) in end.late_ends {
        assert_eq!(reason, "tool_calls");
        let delta: Value = serde_json::from_str(&delta).unwrap();
        joined += delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    }
    joined
}

#[test]
fn an_empty_object_is_replaced_by_the_arguments_behind_it() {
    for (fragments, wanted) in [
        (&["{}", "{\"city\":", "\"Rome\"}"][..], "{\"city\":\"Rome\"}"),
        (&["{}", "", "{\"city\":\"Rome\"}"], "{\"city\":\"Rome\"}"),
        (&["{ }", " ", "{}"], "{}"),
        (&["{}"], "{}"),
        (&["{}", ""], "{}"),
        (&["", "{}"], "{}"),
        (&["{", "}"], "{}"),
        (&["{\"a\":1}"], "{\"a\":1}"),
    ] {
        assert_eq!(arguments(fragments).replace(' ', ""), wanted, "{fragments:?}");
    }
}

#[test]
fn a_choice_that_failed_is_no_answer() {
    for (reason, failed) in
        [("error", true), ("ERROR", true), ("network_error", true), ("stop", false), ("no_error", false)]
    {
        for (shape, text) in [
            (ResponseShape::Chunk, chunk("c", r#"{"content":"a"}"#, &format!("\"{reason}\""))),
            (ResponseShape::Whole, whole("", &format!(r#","finish_reason":"{reason}""#))),
        ] {
            let parsed = read(&text, shape, &mut ChoiceStates::default()).unwrap();
            assert_eq!(parsed.ended_with_error, failed, "{text}");
        }
    }
}

#[test]
fn a_value_that_says_nothing_is_null_and_no_content() {
    for void in ["false", "{}", "[ ]"] {
        let delta = format!(r#"{{"role":"assistant","content":{void},"refusal":{void}}}"#);
        let (parsed, value) = parsed(&chunk("c", &delta, "null"), ResponseShape::Chunk, &mut ChoiceStates::default());
        assert!(!parsed.facts.content, "{delta}");
        let delta = &value["choices"][0]["delta"];
        assert!(delta["refusal"].is_null() && delta["content"].as_str().unwrap_or_default().is_empty(), "{delta}");
    }
    let (parsed, value) =
        parsed(&chunk("c", r#"{"content":true}"#, "null"), ResponseShape::Chunk, &mut ChoiceStates::default());
    assert!(parsed.facts.content);
    assert_eq!(value["choices"][0]["delta"]["content"], "true");
}

#[test]
fn an_error_of_void_members_is_none() {
    for (error, is_error) in [
        (r#"{"code":0,"message":""}"#, false),
        (r#"{"code":null,"details":[{"reason":"None"}]}"#, false),
        (r#""None""#, false),
        ("0.0", false),
        (r#"{"code":500,"message":""}"#, true),
        (r#"{"code":0,"message":"overloaded"}"#, true),
        ("1", true),
    ] {
        let text = whole(&format!(r#""error":{error},"#), r#","finish_reason":"stop""#);
        let parsed = read(&text, ResponseShape::Whole, &mut ChoiceStates::default()).unwrap();
        assert_eq!(parsed.error, is_error, "{error}");
    }
}

#[test]
fn the_usage_of_a_choice_is_that_of_the_response() {
    let usage = r#","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#;
    let text = chunk("c", "{}", &format!("\"stop\"{usage}"));
    let (chunk, value) = parsed(&text, ResponseShape::Chunk, &mut ChoiceStates::default());
    assert_eq!(chunk.facts.usage.map(|usage| (usage.input, usage.output)), Some((3, 4)));
    assert!(value["choices"][0].get("usage").is_none() && value.get("usage").is_none(), "{value}");
    assert!(text[chunk.usage_at.unwrap()].starts_with("{\"prompt_tokens\""));

    let text = whole("", &format!(r#","finish_reason":"stop"{usage}"#));
    let (whole, value) = parsed(&text, ResponseShape::Whole, &mut ChoiceStates::default());
    assert!(whole.facts.usage.is_some() && value["choices"][0].get("usage").is_none());
    assert_eq!(value["usage"]["total_tokens"], 7);
}
