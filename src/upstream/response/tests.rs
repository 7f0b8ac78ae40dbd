//! Responses of many servers, as OpenAI's clients must get them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    choice_state::{ChoiceStates, Expected},
    response_reader::{ParsedResponse, ResponseShape, read},
    sse_event::EventFacts,
    whole_response::Assembler,
};

fn parsed(text: &str, shape: ResponseShape, states: &mut ChoiceStates) -> (ParsedResponse, Value) {
    let mut parsed = read(text, shape, states).unwrap();
    let bytes = std::mem::take(&mut parsed.patch).apply(text);
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)));
    (parsed, value)
}

/// A chunk with everything that OpenAI sends, and one choice.
fn chunk(delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
    )
}

fn whole(message: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":{finish}}}]}}"#
    )
}

/// The tool calls of a delta after normalisation.
fn calls(delta: &str, states: &mut ChoiceStates) -> Value {
    parsed(&chunk(delta, "null"), ResponseShape::Chunk, states).1["choices"][0]["delta"]["tool_calls"].take()
}

#[test]
fn a_complete_chunk_stays_byte_for_byte() {
    let mut states = ChoiceStates::default();
    for delta in [
        r#"{ "role":"assistant", "content":"hé\n" }"#,
        r#"{"content":"b","reasoning":"x"}"#,
        r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},"x":1.50}]}"#,
    ] {
        let parsed = read(&chunk(delta, "null"), ResponseShape::Chunk, &mut states).unwrap();
        assert!(parsed.patch.is_empty(), "{delta}");
    }
    let parsed = read(&chunk("{}", "\"tool_calls\""), ResponseShape::Chunk, &mut states).unwrap();
    assert!(parsed.patch.is_empty() && states.are_finished());
}

#[test]
fn a_role_or_an_empty_string_is_no_content() {
    for delta in [r#"{"role":"assistant"}"#, r#"{"content":""}"#, r#"{"tool_calls":[]}"#, r#"{"content":null}"#] {
        let facts = read(&chunk(delta, "null"), ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap().facts;
        assert_eq!(facts, EventFacts::default(), "{delta}");
    }
    for delta in [r#"{"reasoning":"a"}"#, r#"{"refusal":"no"}"#, r#"{"tool_calls":[{"function":{"name":"f"}}]}"#] {
        let facts = read(&chunk(delta, "null"), ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap().facts;
        assert!(facts.content, "{delta}");
    }
}

#[test]
fn the_role_and_the_names_of_a_call_are_sent_once() {
    let mut states = ChoiceStates::default();
    let first = r#"{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]}"#;
    let again = r#"{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":":1}"}}]}"#;
    parsed(&chunk(first, "null"), ResponseShape::Chunk, &mut states);
    let value = parsed(&chunk(again, "null"), ResponseShape::Chunk, &mut states).1;
    assert_eq!(value["choices"][0]["delta"], json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}));
}

#[test]
fn parallel_calls_stay_apart_whatever_their_ids_and_indexes() {
    for (first, second) in [
        (r#"{"index":0,"id":"a","#, r#"{"index":0,"id":"b","#),
        (r#"{"id":"a","#, r#"{"id":"b","#),
        (r#"{"id":"","#, r#"{"id":"","#),
        (r#"{"index":null,"id":null,"#, r#"{"index":null,"id":null,"#),
        (r#"{"index":"0","id":7,"#, r#"{"index":"0","id":7,"#),
        (r#"{"index":0,"#, r#"{"index":1,"#),
        (r#"{"index":3,"id":"a","#, r#"{"index":5,"id":"b","#),
        (r#"{"index":0,"id":"weather","#, r#"{"index":1,"id":"weather","#),
        (r#"{"index":0,"id":"weather","#, r#"{"index":0,"id":"weather","#),
        (r#"{"id":"weather","#, r#"{"id":"weather","#),
    ] {
        let mut states = ChoiceStates::default();
        let rest = |city: &str| {
            format!(r#""type":null,"function":{{"name":"weather","arguments":"{{\"city\":\"{city}\"}}"}}}}"#)
        };
        let one = calls(&format!(r#"{{"tool_calls":[{first}{}]}}"#, rest("Rome")), &mut states);
        let two = calls(&format!(r#"{{"tool_calls":[{second}{}]}}"#, rest("Oslo")), &mut states);
        let (one, two) = (&one[0], &two[0]);
        assert_eq!((&one["index"], &two["index"]), (&json!(0), &json!(1)), "{first}");
        assert_eq!((&one["type"], &two["type"]), (&json!("function"), &json!("function")), "{first}");
        let (one, two) = (one["id"].as_str().unwrap(), two["id"].as_str().unwrap());
        assert!(!one.is_empty() && !two.is_empty() && one != two, "{first}: {one} {two}");
    }
}

#[test]
fn a_fragment_continues_its_call() {
    let mut states = ChoiceStates::default();
    calls(
        r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        &mut states,
    );
    for fragment in [
        r#"{"index":0,"function":{"arguments":"{\"a\":"}}"#,
        r#"{"function":{"arguments":"1"}}"#,
        r#"{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":",\"b\":"}}"#,
        r#"{"index":0,"id":"","type":"","function":{"name":"","arguments":""}}"#,
        r#"{"index":0,"id":"another","function":{"name":null,"arguments":"2}"}}"#,
    ] {
        let value = calls(&format!(r#"{{"tool_calls":[{fragment}]}}"#), &mut states);
        let names: Vec<&str> = value[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((names, &value[0]["index"]), (vec!["function", "index"], &json!(0)), "{fragment}");
    }
}

#[test]
fn more_choices_than_a_request_can_ask_for_are_damage() {
    for (count, shape) in [(129, ResponseShape::Chunk), (129, ResponseShape::Whole)] {
        let choices = vec![r#"{"delta":{"content":"x"}}"#; count].join(",");
        let text = format!(r#"{{"id":"c","model":"m","choices":[{choices}]}}"#);
        assert!(read(&text, shape, &mut ChoiceStates::default()).unwrap_err().what.contains("128"));
    }
    // Neither do many indexes over many events.
    let mut states = ChoiceStates::default();
    let one = |index: usize| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"x"}}}}]}}"#);
    assert!((0..128).all(|index| read(&one(index), ResponseShape::Chunk, &mut states).is_ok()));
    assert!(read(&one(128), ResponseShape::Chunk, &mut states).is_err());
}

#[test]
fn tool_calls_are_bounded_in_number_and_in_bytes() {
    let call = r#"{"function":{"name":"f","arguments":"{}"}}"#;
    let many = chunk(&format!(r#"{{"tool_calls":[{}]}}"#, vec![call; 300].join(",")), "null");
    assert!(read(&many, ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap_err().what.contains("256"));
    let mut states = ChoiceStates::default();
    let long = |at: usize| {
        chunk(&format!(r#"{{"tool_calls":[{{"index":{at},"id":"{at}{}"}}]}}"#, "i".repeat(100_000)), "null")
    };
    assert!(read(&long(0), ResponseShape::Chunk, &mut states).is_ok());
    assert!(read(&long(1), ResponseShape::Chunk, &mut states).is_err());
}

#[test]
fn equal_indexes_in_a_whole_response_are_choices_of_their_own() {
    let choice = |text: &str, reason: &str| {
        format!(r#"{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"{reason}"}}"#)
    };
    let text = format!(r#"{{"choices":[{},{}]}}"#, choice("a", "length"), choice("b", "stop"));
    let expected = Expected { n: 2, ..Expected::default() };
    let (parsed, value) = parsed(&text, ResponseShape::Whole, &mut ChoiceStates::new("m", expected));
    let seen = |at: usize| {
        let choice = &value["choices"][at];
        (choice["index"].as_u64(), choice["message"]["content"].as_str(), choice["finish_reason"].as_str())
    };
    assert_eq!((seen(0), seen(1)), ((Some(0), Some("a"), Some("length")), (Some(1), Some("b"), Some("stop"))));
    assert_eq!(parsed.finish_reasons, ["length", "stop"]);
}

#[test]
fn a_custom_tools_call_keeps_its_form_over_its_fragments() {
    let mut states = ChoiceStates::default();
    for delta in [
        r#"{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"sql","input":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"custom":{"input":"SELECT"}}]}"#,
        r#"{"tool_calls":[{"index":0,"custom":{"input":" {1}"}}]}"#,
    ] {
        let parsed = read(&chunk(delta, "null"), ResponseShape::Chunk, &mut states).unwrap();
        assert!(parsed.patch.is_empty(), "{delta}");
    }
    let end = read(&chunk("{}", "\"tool_calls\""), ResponseShape::Chunk, &mut states).unwrap();
    assert_eq!(end.late_ends, []);
    let second =
        calls(r#"{"tool_calls":[{"id":"b","type":"custom","custom":{"name":"sql","input":"x"}}]}"#, &mut states);
    assert_eq!(second, json!([{"index": 1, "id": "b", "type": "custom", "custom": {"name": "sql", "input": "x"}}]));
}

#[test]
fn escaped_names_are_read_as_what_they_mean() {
    let text = r#"{"cho\u0069ces":[{"ind\u0065x":0,"d\u0065lta":{"cont\u0065nt":"x"},"finish_r\u0065ason":"stop"}]}"#;
    let mut states = ChoiceStates::default();
    let parsed = read(text, ResponseShape::Chunk, &mut states).unwrap();
    assert!(parsed.facts.content && states.are_finished());
}

#[test]
fn very_many_names_of_members_cost_linear_time() {
    let names: Vec<String> = (0..50_000).map(|i| format!("\"n{i}\":1")).collect();
    let names = names.join(",");
    let delta = format!(r#"{{"content":"x","tool_calls":[{{"id":"a","function":{{{names}}},{names}}}],{names}}}"#);
    let text = format!(r#"{{"choices":[{{"delta":{delta},{names}}}],{names}}}"#);
    let begun = tokio::time::Instant::now();
    assert!(read(&text, ResponseShape::Chunk, &mut ChoiceStates::default()).is_ok());
    // Comparing each name with all earlier ones would take minutes.
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn arguments_are_a_string_and_a_whole_calls_hold_an_object() {
    for (written, wanted) in [
        (r#","arguments":{"city": "Rome"}"#, r#"{"city": "Rome"}"#),
        (r#","arguments":"""#, "{}"),
        (r#","arguments":null"#, "{}"),
        ("", "{}"),
    ] {
        let message = format!(r#"{{"tool_calls":[{{"id":"","function":{{"name":"f"{written}}}}}]}}"#);
        let (parsed, value) = parsed(&whole(&message, "\"stop\""), ResponseShape::Whole, &mut ChoiceStates::default());
        let call = &value["choices"][0]["message"]["tool_calls"][0];
        assert_eq!((call["function"]["arguments"].as_str(), &call["type"]), (Some(wanted), &json!("function")));
        assert!(!call["id"].as_str().unwrap().is_empty());
        assert_eq!(
            (parsed.finish_reasons, &value["choices"][0]["finish_reason"]),
            (vec!["tool_calls".to_owned()], &json!("tool_calls"))
        );
        assert_eq!(
            (&value["choices"][0]["message"]["role"], &value["choices"][0]["message"]["content"]),
            (&json!("assistant"), &Value::Null)
        );
    }
    let mut states = ChoiceStates::default();
    calls(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"now"}}]}"#, &mut states);
    let end = read(&chunk("{}", "\"tool_calls\""), ResponseShape::Chunk, &mut states).unwrap();
    let missing = r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#.to_owned();
    assert_eq!(end.late_ends, [(0, missing, "tool_calls")]);
}

#[test]
fn a_finish_reason_that_says_nothing_is_no_end() {
    for written in ["\"\"", "\"null\"", "false", "0"] {
        let mut states = ChoiceStates::default();
        let (parsed, value) = parsed(&chunk(r#"{"content":"a"}"#, written), ResponseShape::Chunk, &mut states);
        assert_eq!(
            (parsed.facts.finish_reason, &value["choices"][0]["finish_reason"]),
            (None, &Value::Null),
            "{written}"
        );
        assert!(!states.are_finished());
    }
}

#[test]
fn an_end_is_sent_once() {
    let mut states = ChoiceStates::default();
    read(&chunk("{}", "\"stop\""), ResponseShape::Chunk, &mut states).unwrap();
    let (parsed, value) = parsed(&chunk("{}", "\"stop\""), ResponseShape::Chunk, &mut states);
    assert_eq!((parsed.facts.finish_reason, &value["choices"][0]["finish_reason"]), (None, &Value::Null));
}

#[test]
fn a_content_array_becomes_a_string_and_its_thinking() {
    let message = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm \"x\""}]},{"type":"text","text":"Hello"},{"type":"text","text":"!"}]}"#;
    let null = r#","reasoning_content":null}"#;
    for message in [message.to_owned(), message.replacen(r#"!"}]}"#, &format!(r#"!"}}]{null}"#), 1)] {
        let (parsed, value) = parsed(&whole(&message, "\"stop\""), ResponseShape::Whole, &mut ChoiceStates::default());
        let wanted = json!({"role": "assistant", "content": "Hello!", "reasoning_content": "hm \"x\""});
        assert_eq!(value["choices"][0]["message"], wanted, "{message}");
        assert_eq!((parsed.facts.chars, parsed.finish_reasons), (14, vec!["stop".to_owned()]));
    }
}

#[test]
fn usage_is_read_where_each_provider_puts_it_and_taken_out_of_chunks() {
    for (members, wanted) in [
        (r#""usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":41}"#, Some((3, 38, 41))),
        (r#""x_groq":{"id":"r","usage":{"prompt_tokens":1,"completion_tokens":2}}"#, Some((1, 2, 3))),
        (r#""usage":{"prompt_tokens":4,"total_tokens":4}"#, Some((4, 0, 4))),
        (r#""usage":{"cost":1}"#, None),
        (r#""usage":null"#, None),
    ] {
        let text = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}}}}],{members}}}"#);
        let (parsed, value) = parsed(&text, ResponseShape::Chunk, &mut ChoiceStates::default());
        assert_eq!(parsed.facts.usage.map(|u| (u.input, u.output, u.total)), wanted, "{text}");
        assert!(value.get("usage").is_none_or(Value::is_null), "{value}");
        assert!(!parsed.is_usage_only);
        if wanted.is_some() {
            assert!(value.get("x_groq").is_none());
        }
    }
}

#[test]
fn values_outside_openais_closed_lists_are_left_out() {
    let text = r#"{"object":"text","service_tier":"on_demand","error":{},"choices":[{"index":"0","delta":{"role":"model","content":"a"}}]}"#;
    let value = parsed(text, ResponseShape::Chunk, &mut ChoiceStates::new("fallback", Expected::default())).1;
    assert_eq!(value["choices"][0], json!({"index": 0, "delta": {"role": "assistant", "content": "a"}}));
    assert_eq!((&value["object"], &value["model"]), (&json!("chat.completion.chunk"), &json!("fallback")));
    assert!(value.get("service_tier").is_none() && value.get("error").is_none());
    assert!(value["id"].is_string() && value["created"].is_u64());
    for void in ["null", "false", "\"\"", "{}", "[]", "0", "\"null\""] {
        let text = format!(r#"{{"error":{void},"choices":[]}}"#);
        assert!(!read(&text, ResponseShape::Whole, &mut ChoiceStates::default()).unwrap().error, "{void}");
    }
    assert!(read(r#"{"error":"no"}"#, ResponseShape::Whole, &mut ChoiceStates::default()).unwrap().error);
}

#[test]
fn chunks_assemble_to_a_whole_response() {
    let mut states = ChoiceStates::default();
    let mut assembler = Assembler::default();
    for (delta, finish) in [
        (r#"{"role":"assistant","content":"a"}"#, "null"),
        (r#"{"content":"b","reasoning_content":"r"}"#, "null"),
        (r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{"}}]}"#, "null"),
        (r#"{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}"#, "\"stop\""),
    ] {
        assembler.push(
            format!("data: {}\n\n", parsed(&chunk(delta, finish), ResponseShape::Chunk, &mut states).1).as_bytes(),
        );
    }
    let value: Value = serde_json::from_str(&assembler.finish()).unwrap();
    assert_eq!(
        value["choices"],
        json!([{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "ab", "reasoning_content": "r",
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}])
    );
}

/// JSON of any kind, as damage puts it in the place of a value.
fn junk() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "\"\"",
        "\"null\"",
        "0",
        "1",
        "-1",
        "2.5",
        "true",
        "false",
        "{}",
        "[]",
        "[null]",
        "{\"a\":1}",
        "\"x\"",
        "\"stop\"",
        "\"assistant\"",
        "\"{\\\"a\\\":1}\"",
        "\"é世\"",
    ])
    .prop_map(str::to_owned)
}

/// An object of these members; each may be absent, damaged or repeated.
fn damaged(members: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let fields: Vec<_> = members
        .into_iter()
        .map(|(name, value)| {
            prop_oneof![6 => prop::collection::vec(value, 1..2), 1 => prop::collection::vec(junk().boxed(), 0..3)]
                .prop_map(move |values| values.into_iter().map(|v| format!("\"{name}\":{v}")).collect::<Vec<_>>())
        })
        .collect();
    fields.prop_map(|fields| format!("{{{}}}", fields.concat().join(","))).boxed()
}

fn text() -> BoxedStrategy<String> {
    "[a-z ]{0,5}".prop_map(|s: String| json!(s).to_string()).boxed()
}

fn fragment() -> BoxedStrategy<String> {
    let function = damaged(vec![
        ("name", prop::sample::select(vec!["\"f\"", "\"g\""]).prop_map(str::to_owned).boxed()),
        (
            "arguments",
            prop::sample::select(vec!["\"{}\"", "\"{\"", "\"}\"", "{\"a\":1}"]).prop_map(str::to_owned).boxed(),
        ),
    ]);
    damaged(vec![
        ("index", (0..3_u32).prop_map(|n| n.to_string()).boxed()),
        ("id", prop::sample::select(vec!["\"a\"", "\"b\"", "\"\""]).prop_map(str::to_owned).boxed()),
        ("type", Just("\"function\"".to_owned()).boxed()),
        ("function", function),
    ])
}

fn body() -> BoxedStrategy<String> {
    damaged(vec![
        ("role", Just("\"assistant\"".to_owned()).boxed()),
        ("content", text()),
        (
            "tool_calls",
            prop::collection::vec(fragment(), 0..3).prop_map(|calls| format!("[{}]", calls.join(","))).boxed(),
        ),
    ])
}

fn response(body_name: &'static str) -> BoxedStrategy<String> {
    let reasons = vec!["null", "\"stop\"", "\"tool_calls\"", "\"MAX_TOKENS\"", "\"\"", "\"eos\""];
    let choice = damaged(vec![
        ("index", (0..2_u32).prop_map(|n| n.to_string()).boxed()),
        (body_name, body()),
        ("finish_reason", prop::sample::select(reasons).prop_map(str::to_owned).boxed()),
    ]);
    damaged(vec![
        ("id", Just("\"c\"".to_owned()).boxed()),
        ("object", Just("\"chat.completion.chunk\"".to_owned()).boxed()),
        ("created", Just("7".to_owned()).boxed()),
        ("model", Just("\"m\"".to_owned()).boxed()),
        ("choices", prop::collection::vec(choice, 0..3).prop_map(|c| format!("[{}]", c.join(","))).boxed()),
        ("usage", Just(r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#.to_owned()).boxed()),
    ])
}

/// Parses JSON and fails on a repeated name.
fn strict(bytes: &[u8]) -> Value {
    struct Strict;
    impl<'de> serde::de::DeserializeSeed<'de> for Strict {
        type Value = Value;
        fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
            d.deserialize_any(self)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Strict {
        type Value = Value;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON without repeated names")
        }
        fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
            Ok(v.into())
        }
        fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
            Ok(v.into())
        }
        fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
            Ok(v.into())
        }
        fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
            Ok(v.into())
        }
        fn visit_str<E>(self, v: &str) -> Result<Value, E> {
            Ok(v.into())
        }
        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element_seed(Strict)? {
                list.push(item);
            }
            Ok(list.into())
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
            let mut map = Map::new();
            while let Some(name) = members.next_key::<String>()? {
                let value = members.next_value_seed(Strict)?;
                if map.insert(name.clone(), value).is_some() {
                    return Err(serde::de::Error::custom(format!("`{name}` is repeated")));
                }
            }
            Ok(map.into())
        }
    }
    let mut d = serde_json::Deserializer::from_slice(bytes);
    serde::de::DeserializeSeed::deserialize(Strict, &mut d)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

fn check_top(value: &Value, object: &str, text: &str) {
    assert!(value["id"].as_str().is_some_and(|id| !id.is_empty()), "{text}\n{value}");
    assert!(value["object"] == object && value["created"].is_u64() && value["model"].is_string(), "{text}\n{value}");
}

const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];

proptest! {
    /// Whatever a stream's chunks lack or repeat, the client gets OpenAI's form.
    #[test]
    fn a_damaged_stream_becomes_openais(chunks in prop::collection::vec(response("delta"), 1..5)) {
        let mut states = ChoiceStates::new("m", Expected::default());
        let (mut ends, mut roles) = (Map::new(), Map::new());
        let mut begun: Vec<(u64, u64, String)> = Vec::new();
        for text in &chunks {
            let Ok(mut parsed) = read(text, ResponseShape::Chunk, &mut states) else { continue };
            if parsed.error {
                return Ok(());
            }
            let bytes = std::mem::take(&mut parsed.patch).apply(text);
            let value = strict(&bytes);
            check_top(&value, "chat.completion.chunk", text);
            prop_assert!(value.get("usage").is_none_or(Value::is_null), "{text}\n{value}");
            for choice in value["choices"].as_array().unwrap() {
                let Some(choice) = choice.as_object() else { continue };
                let index = choice["index"].as_u64().unwrap();
                let delta = choice["delta"].as_object().unwrap();
                if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null()) {
                    prop_assert!(REASONS.contains(&reason.as_str().unwrap()), "{reason}");
                    prop_assert!(ends.insert(index.to_string(), reason.clone()).is_none(), "two ends: {chunks:?}");
                }
                if let Some(role) = delta.get("role") {
                    prop_assert_eq!(role, "assistant");
                    prop_assert!(roles.insert(index.to_string(), Value::Null).is_none());
                }
                prop_assert!(delta.get("content").is_none_or(|content| content.is_null() || content.is_string()));
                for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                    let at = call["index"].as_u64().unwrap();
                    prop_assert!(call["function"]["arguments"].is_string(), "{text}\n{value}");
                    match call.get("id") {
                        Some(id) => {
                            let id = id.as_str().unwrap().to_owned();
                            prop_assert!(!id.is_empty() && call["type"].is_string());
                            let earlier = begun.iter().filter(|(choice, ..)| *choice == index).count() as u64;
                            prop_assert_eq!(at, earlier, "indexes are 0…n-1: {:?}", chunks);
                            prop_assert!(!begun.iter().any(|(choice, _, other)| *choice == index && *other == id));
                            begun.push((index, at, id));
                        }
                        None => prop_assert!(begun.iter().any(|(choice, other, _)| *choice == index && *other == at)),
                    }
                }
            }
        }
    }

    /// The same for whole responses.
    #[test]
    fn a_damaged_whole_response_becomes_openais(text in response("message"), n in 1..3_u64) {
        let mut states = ChoiceStates::new("m", Expected { n, ..Expected::default() });
        let mut parsed = read(&text, ResponseShape::Whole, &mut states).unwrap();
        if parsed.error {
            return Ok(());
        }
        let value = strict(&std::mem::take(&mut parsed.patch).apply(&text));
        check_top(&value, "chat.completion", &text);
        let mut indexes = Vec::new();
        for choice in value["choices"].as_array().unwrap().iter().filter(|choice| choice.is_object()) {
            indexes.push(choice["index"].as_u64().unwrap());
            let message = &choice["message"];
            prop_assert!(REASONS.contains(&choice["finish_reason"].as_str().unwrap()), "{text}\n{value}");
            prop_assert!(message["role"] == "assistant" && (message["content"].is_null() || message["content"].is_string()));
            let calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut ids: Vec<&str> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert!(ids.len() == calls.len() && !ids.contains(&""), "{text}\n{value}");
            for call in &calls {
                let function = &call["function"];
                prop_assert!(call["type"].is_string() && function["name"].is_string(), "{text}\n{value}");
                prop_assert!(!function["arguments"].as_str().unwrap().trim().is_empty(), "{text}\n{value}");
            }
            if !calls.is_empty() && choice["finish_reason"] == "stop" {
                prop_assert!(false, "stop beside calls: {text}");
            }
        }
    }
}
