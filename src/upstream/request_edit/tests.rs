//! Bodies in the form of each provider: only what must differ is changed.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    protocol::chat,
    upstream::test_support::{candidate, named},
};

pub(super) const PROVIDERS: [&str; 10] =
    ["groq", "gemini", "cerebras", "mistral", "ollama", "openrouter", "cloudflare", "nvidia", "cohere", "custom"];

fn sent(body: &str, candidate: &Candidate) -> String {
    let request = chat::decode(Bytes::copy_from_slice(body.as_bytes())).unwrap_or_else(|e| panic!("{body}: {e}"));
    String::from_utf8(edit_request(&request, candidate, EditContext::new(candidate, &request, false)).to_vec()).unwrap()
}

pub(super) fn value(body: &str, candidate: &Candidate) -> Value {
    let sent = sent(body, candidate);
    serde_json::from_str(&sent).unwrap_or_else(|e| panic!("{sent}: {e}"))
}

fn with(members: &str) -> String {
    format!(r#"{{"model":"free","messages":[{{"role":"user","content":"x"}}]{members}}}"#)
}

#[test]
fn only_the_model_is_changed_where_nothing_else_must_be() {
    let body =
        "{ \"messages\":[{\"role\":\"user\",\"content\":\"a\\u00e9\"}],\n\"model\" : \"free\",\"x\":[1.0e-3, -0]\t}";
    let ollama = candidate("ollama");
    let wanted = body.replace("\"free\"", &format!("\"{}\"", ollama.model.id));
    assert_eq!(sent(body, ollama), wanted);
}

#[test]
fn of_two_names_of_one_maximum_the_newer_wins() {
    let both = with(r#","max_tokens":10,"max_completion_tokens":20"#);
    for (provider, wanted) in [
        ("mistral", json!({"max_tokens": 20})),
        ("cerebras", json!({"max_completion_tokens": 20})),
        ("gemini", json!({"max_tokens": 10, "max_completion_tokens": 20})),
    ] {
        let sent = value(&both, candidate(provider));
        for name in ["max_tokens", "max_completion_tokens"] {
            assert_eq!(sent.get(name), wanted.get(name), "{provider}: {sent}");
        }
    }
    let null = value(&with(r#","max_tokens":10,"max_completion_tokens":null"#), candidate("mistral"));
    assert_eq!((&null["max_tokens"], null.get("max_completion_tokens")), (&json!(10), None));
}

#[test]
fn an_output_maximum_is_lowered_to_what_fits_an_assumed_context() {
    let prompt = "word ".repeat(4_000);
    let body = |maximum: i64| {
        format!(r#"{{"model":"free","max_tokens":{maximum},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#)
    };
    let lowered = value(&body(32_000), candidate("custom"))["max_tokens"].as_i64().unwrap();
    assert!((26_000..28_000).contains(&lowered), "{lowered}");
    assert_eq!(value(&body(20_000), candidate("custom"))["max_tokens"], 20_000);
    assert_eq!(
        value(&body(64_000), candidate("mistral"))["max_tokens"],
        64_000,
        "a stated context is the plan's to check"
    );
}

#[test]
fn of_two_maxima_the_smaller_is_never_raised() {
    let prompt = "word ".repeat(4_000);
    let body = format!(
        r#"{{"model":"free","max_tokens":100,"max_completion_tokens":90000,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    );
    let sent = value(&body, candidate("custom"));
    assert_eq!(sent["max_tokens"], 100);
    assert!((26_000..28_000).contains(&sent["max_completion_tokens"].as_i64().unwrap()), "{sent}");
}

#[test]
fn an_assistant_that_says_nothing_is_no_empty_message_at_mistral() {
    for said in [
        r#""content":"""#,
        r#""content":null"#,
        r#""content":[]"#,
        r#""reasoning_content":"hm""#,
        r#""content":[{"type":"text","text":""}],"tool_calls":[]"#,
    ] {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant",{said}}},{{"role":"user","content":"y"}}]}}"#
        );
        for (provider, wanted) in [("mistral", " "), ("groq", "")] {
            let sent = value(&body, candidate(provider));
            assert_eq!(sent["messages"][1], json!({"role": "assistant", "content": wanted}), "{provider}: {said}");
        }
    }
}

#[test]
fn a_content_with_other_parts_than_text_is_filtered_too() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},
        {"role":"assistant","content":[{"type":"text","text":"I "},{"type":"refusal","refusal":"cannot."}]},
        {"role":"tool","tool_call_id":"abcdefghi","content":[{"type":"text","text":"seen","cache_control":{"type":"ephemeral"}},
            {"type":"image_url","image_url":"data:image/png;base64,AA=="}]}]}"#;
    for provider in ["groq", "cerebras", "mistral"] {
        let sent = value(body, candidate(provider));
        assert_eq!(sent["messages"][1]["content"], "I cannot.", "{provider}");
        assert_eq!(
            sent["messages"][2]["content"],
            json!([{"type": "text", "text": "seen"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
            "{provider}"
        );
    }
}

#[test]
fn a_maximum_is_sent_where_the_providers_default_is_harmful() {
    for written in ["", r#","max_tokens":null"#, r#","max_completion_tokens":null"#] {
        let sent = value(&with(written), candidate("cerebras"));
        assert_eq!((&sent["max_completion_tokens"], sent.get("max_tokens")), (&json!(4096), None), "{written}");
    }
    assert_eq!(value(&with(""), candidate("cloudflare"))["max_tokens"], 4096);
    assert_eq!(value(&with(r#","max_tokens":7"#), candidate("cerebras"))["max_completion_tokens"], 7);
    assert_eq!(value(&with(""), candidate("groq")).get("max_tokens"), None);
}

#[test]
fn usage_is_requested_on_streams_except_where_it_is_refused() {
    for written in
        ["", r#","stream_options":null"#, r#","stream_options":{}"#, r#","stream_options":{"include_usage":false}"#]
    {
        let body = with(&format!(r#","stream":true{written}"#));
        assert_eq!(value(&body, candidate("groq"))["stream_options"]["include_usage"], true, "{written}");
        for provider in ["mistral", "cohere"] {
            assert_eq!(value(&body, candidate(provider)).get("stream_options"), None, "{provider}{written}");
        }
    }
    assert_eq!(value(&with(""), candidate("groq")).get("stream_options"), None);
}

#[test]
fn mistral_gets_short_ids_one_to_one_and_the_same_in_every_turn() {
    let body = |id: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"assistant","content":null,"tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"{id}","content":"1"}}]}}"#
        )
    };
    let mut seen = std::collections::HashSet::new();
    for i in 0..200 {
        let id = format!("call_{i}");
        let sent = value(&body(&id), candidate("mistral"));
        let short = sent["messages"][0]["tool_calls"][0]["id"].as_str().unwrap().to_owned();
        assert!(short.len() == 9 && short.bytes().all(|b| b.is_ascii_alphanumeric()), "{short}");
        assert_eq!(sent["messages"][1]["tool_call_id"], short.as_str());
        assert_eq!(sent["messages"][0]["content"], "");
        assert_eq!(value(&body(&id), candidate("mistral")), sent);
        assert!(seen.insert(short));
    }
    assert_eq!(value(&body("D681PevKs"), candidate("mistral"))["messages"][1]["tool_call_id"], "D681PevKs");
    assert_eq!(value(&body("call_1"), candidate("groq"))["messages"][1]["tool_call_id"], "call_1");
}

#[test]
fn at_mistral_the_assistant_speaks_between_a_tools_result_and_the_user() {
    let body = r#"{"model":"free","messages":[{"role":"user","content":"x"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":"1"},{"role":"user","content":"y"},{"role":"user","content":"z"}]}"#;
    let roles = |provider: &str| {
        let sent = value(body, candidate(provider));
        let roles: Vec<String> =
            sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap().to_owned()).collect();
        roles.join(" ")
    };
    assert_eq!(roles("mistral"), "user assistant tool assistant user user");
    assert_eq!(roles("groq"), "user assistant tool user user");
}

#[test]
fn words_that_the_model_shall_continue_are_a_prefix_at_mistral() {
    let body = |last: &str| {
        let (first, said) = (r#"{"role":"user","content":"x"}"#, r#"{"role":"assistant","content":"{"}"#);
        format!(r#"{{"model":"free","messages":[{first},{said}{last}]}}"#)
    };
    let prefix = |body: &str, provider: &str| value(body, candidate(provider))["messages"][1].get("prefix").cloned();
    assert_eq!(prefix(&body(""), "mistral"), Some(json!(true)));
    assert_eq!(prefix(&body(""), "groq"), None);
    assert_eq!(prefix(&body(r#",{"role":"user","content":"y"}"#), "mistral"), None);
}

#[test]
fn a_value_rule_drops_only_that_value() {
    assert_eq!(value(&with(r#","tools":[ ]"#), candidate("mistral")).get("tools"), None);
    let tool = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert!(value(&with(tool), candidate("mistral"))["tools"].is_array());
}

#[test]
fn schema_keywords_go_at_any_depth_and_names_of_properties_stay() {
    let body = with(
        r#","tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"$schema":"s","type":"object","properties":{"default":{"type":"string","default":"a"},"b":{"anyOf":[{"const":1},{"type":"null"}]}},"required":["default"],"additionalProperties":false}}}]"#,
    );
    let request = chat::decode(body.into()).unwrap();
    let gemini = candidate("gemini");
    let sent = edit_request(&request, gemini, EditContext::new(gemini, &request, true));
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(
        sent["tools"][0]["function"],
        json!({"name": "f", "parameters": {"type": "object", "required": ["default"],
            "properties": {"default": {"type": "string"}, "b": {"anyOf": [{}, {"type": "null"}]}}}})
    );
}

/// A closed provider's list of an object excludes the field at this path or an ancestor of it.
fn is_foreign(candidate: &Candidate, pattern: &str) -> bool {
    candidate.provider.wire.allowed_fields.iter().any(|(path, names)| {
        let object = path.split(':').next().unwrap_or_default();
        let rest = if object.is_empty() {
            Some(pattern)
        } else {
            pattern.strip_prefix(object).and_then(|r| r.strip_prefix('.'))
        };
        let name = rest.map(|rest| rest.split(['.', '[']).next().unwrap_or_default());
        name.is_some_and(|name| !names.iter().any(|allowed| allowed == name))
    })
}

/// Whether a path may differ between the client's request and the provider's.
fn intended(candidate: &Candidate, path: &str) -> bool {
    let wire = &candidate.provider.wire;
    let pattern = path.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    is_foreign(candidate, &pattern)
        || [
            "model",
            "max_tokens",
            "max_completion_tokens",
            "messages[].role",
            "messages[].tool_calls",
            "tools",
            "tools[].function.parameters.type",
            "tools[].function.parameters.properties",
            "stream_options",
        ]
        .contains(&pattern.as_str())
        || pattern.starts_with("stream_options.")
        || pattern.starts_with("tool_choice")
        || pattern.starts_with("messages[].content")
        || pattern.contains("tool_calls[].extra_content")
        || pattern.ends_with("function.arguments")
        || wire.drop.iter().any(|rule| pattern == *rule || pattern.starts_with(&format!("{rule}.")))
        || wire.drop.iter().any(|rule| rule.split_once('=').is_some_and(|(name, _)| name == pattern))
        || wire.rename.iter().any(|(from, to)| pattern == *from || pattern == *to)
        || (wire.short_tool_ids && (pattern.ends_with("tool_calls[].id") || pattern.ends_with("tool_call_id")))
}

fn leaves(value: &Value, path: &str, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(name, inner)| {
            leaves(inner, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, out);
        }),
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, inner)| leaves(inner, &format!("{path}[{i}]"), out));
        }
        leaf => out.push((path.to_owned(), leaf.to_string())),
    }
}

fn member() -> impl Strategy<Value = String> {
    let string = "[a-zé世\\\\n]{0,6}".prop_map(|s: String| Value::from(s).to_string());
    prop_oneof![
        Just("\"temperature\": 0.70".to_owned()),
        Just("\"top_p\":1.0e-0".to_owned()),
        Just("\"seed\":9007199254740993".to_owned()),
        Just("\"stop\" : [\"a\"]".to_owned()),
        Just("\"store\":false".to_owned()),
        Just("\"user\":\"u\"".to_owned()),
        Just("\"n\":1".to_owned()),
        Just("\"tools\":[]".to_owned()),
        Just("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}]".to_owned()),
        (1..9_u32).prop_map(|n| format!("\"max_tokens\":{n}")),
        (1..9_u32).prop_map(|n| format!("\"max_completion_tokens\":{n}")),
        Just("\"stream\":true".to_owned()),
        Just("\"stream_options\":{\"x\":[ 1.50 ]}".to_owned()),
        (0..3_u32, string).prop_map(|(n, s)| format!("\"x_{n}\":{{ \"deep\":[1.5E+1,{s}, -0] }}")),
    ]
}

fn message() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{\"role\":\"developer\",\"name\":\"n\",\"content\":\"c\"}".to_owned()),
        Just("{\"content\":[{\"type\":\"text\",\"text\":\"é\"}],\"role\":\"user\",\"x\":1.0}".to_owned()),
        "[a-z0-9_]{1,12}".prop_map(|id| format!("{{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"r\",\"tool_calls\":[{{\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}},\"extra_content\":{{\"s\":1}}}}]}}")),
        "[a-z0-9_]{1,12}".prop_map(|id| format!("{{\"role\":\"tool\",\"tool_call_id\":\"{id}\",\"content\":\"1\"}}")),
    ]
}

/// Fields of other providers and of SDKs, put into every object of a request.
fn foreign() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "\"refusal\":null",
        "\"annotations\":[]",
        "\"audio\":null",
        "\"cache_control\":{\"type\":\"ephemeral\"}",
        "\"timestamp\":17",
        "\"reasoning_details\":[{\"type\":\"x\"}]",
        "\"provider_specific_fields\":{\"a\":[1,{\"b\":2}]}",
        "\"verbosity\":\"low\"",
        "\"safety_identifier\":\"u\"",
        "\"prompt_cache_retention\":\"24h\"",
        "\"extra_content\":{\"other\":1}",
    ])
    .prop_map(str::to_owned)
}

/// No object of `value` has a field that its list excludes.
fn check_allowed(candidate: &Candidate, value: &Value, path: &str) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_allowed(candidate, item, &format!("{path}[]"))),
        Value::Object(fields) => {
            let role = value.get("role").and_then(Value::as_str).unwrap_or_default();
            let listed = candidate.provider.wire.allowed_fields.iter();
            let mut listed = listed.filter(|(object, _)| *object == path || *object == format!("{path}:{role}"));
            let names = listed.next().map(|(_, names)| names);
            for (name, inner) in fields {
                if names.is_some_and(|names| !names.contains(name)) {
                    return Err(format!("{path}.{name}"));
                }
                check_allowed(
                    candidate,
                    inner,
                    &if path.is_empty() { name.clone() } else { format!("{path}.{name}") },
                )?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

proptest! {
    /// Of random fields at every depth a closed provider gets those that it takes. Values that are kept stay byte for byte.
    #[test]
    fn only_allowed_fields_are_sent(extra in prop::collection::vec(foreign(), 6..7), at in 0..PROVIDERS.len(), stream: bool) {
        let body = format!(
            r#"{{"model":"free",{},"stream":{stream},"messages":[
                {{"role":"system",{},"content":[{{"type":"text","text":"é 1.0"}}]}},
                {{"role":"user","content":[{{"type":"text",{},"text":"look"}}]}},
                {{"role":"assistant","content":null,{},"tool_calls":[{{"id":"call_1",{},"type":"function","function":{{"name":"f","arguments":"{{ \"a\": 1.0e-3 }}"}}}}]}},
                {{"role":"tool","tool_call_id":"call_1","content":"21.50"}}],
               "tools":[{{"type":"function",{},"function":{{"name":"f","parameters":{{"type" : "object", "properties":{{"a":{{"minimum":1.50}}}}}}}}}}]}}"#,
            extra[0], extra[1], extra[2], extra[3], extra[4], extra[5]
        );
        let candidate = candidate(PROVIDERS[at]);
        let out = sent(&body, candidate);
        let value: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(check_allowed(candidate, &value, ""), Ok(()), "{}: {}", PROVIDERS[at], out);
        prop_assert!(out.contains(r#"{"type" : "object", "properties":{"a":{"minimum":1.50}}}"#), "{out}");
        prop_assert!(out.contains(r#""arguments":"{ \"a\": 1.0e-3 }""#) && out.contains(r#""content":"21.50""#), "{out}");
    }

    /// A provider gets the client's request but for the paths that its dialect names.
    #[test]
    fn nothing_is_changed_but_what_must_be(
        members in prop::collection::vec(member(), 0..10),
        messages in prop::collection::vec(message(), 1..5),
        at in 0..PROVIDERS.len(),
    ) {
        let mut names = std::collections::HashSet::new();
        let name = |m: &String| m.split('"').nth(1).unwrap().to_owned();
        let mut parts: Vec<String> = members.into_iter().filter(|m| names.insert(name(m))).collect();
        parts.insert(parts.len() / 2, "\"model\":\"free\"".to_owned());
        parts.push(format!("\"messages\":[{}]", messages.join(" , ")));
        let body = format!("{{{}}}", parts.join(", "));
        let candidate = candidate(PROVIDERS[at]);
        let out = sent(&body, candidate);

        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&serde_json::from_str(&body).unwrap(), "", &mut before);
        leaves(&serde_json::from_str(&out).unwrap(), "", &mut after);
        for leaf in before.iter().filter(|leaf| !after.contains(leaf)).chain(after.iter().filter(|leaf| !before.contains(leaf))) {
            prop_assert!(intended(candidate, &leaf.0), "{}: {leaf:?}\n{body}\n{out}", PROVIDERS[at]);
        }
        // Fields that are kept keep every byte.
        let is_open = candidate.provider.wire.allowed_fields.is_empty();
        for part in parts.iter().filter(|p| is_open && p.starts_with("\"x_") || p.starts_with("\"temperature")) {
            prop_assert!(out.contains(part.as_str()), "{part}\n{out}");
        }
    }
}

#[test]
fn void_fields_are_left_out() {
    for provider in PROVIDERS {
        let sent = value(
            &with(
                r#","tools":[ ],"tool_choice":"auto","parallel_tool_calls":true,"stream_options":{"include_usage":true}"#,
            ),
            candidate(provider),
        );
        for name in ["tools", "tool_choice", "parallel_tool_calls", "stream_options"] {
            assert!(sent.get(name).is_none(), "{provider}: {name}");
        }
    }
}

#[test]
fn an_assistant_message_has_content_calls_and_object_arguments() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":null},
        {"role":"assistant","tool_calls":[]},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}},
        {"id":"b","type":"function","function":{"name":"f","arguments":" "}}]},{"role":"user","content":"y"}]}"#;
    for provider in ["ollama", "groq", "custom"] {
        let sent = value(body, candidate(provider));
        for at in [1, 2] {
            assert_eq!(sent["messages"][at]["content"], "", "{provider}");
            assert!(sent["messages"][at].get("tool_calls").is_none(), "{provider}");
        }
        for call in sent["messages"][3]["tool_calls"].as_array().unwrap() {
            assert_eq!(call["function"]["arguments"], "{}", "{provider}");
        }
    }
}

#[test]
fn arguments_of_the_history_are_objects() {
    for (written, wanted) in [
        ("null", json!({})),
        (r#"{"city": "Rome"}"#, json!({"city": "Rome"})),
        (r#""{\"city\": \"Rome\"}""#, json!({"city": "Rome"})),
        (r#""\"{\\\"city\\\": \\\"Rome\\\"}\"""#, json!({"city": "Rome"})),
        (r#""null""#, json!({})),
        ("[]", json!({})),
        (r#""{\"city\":""#, json!({"arguments": "{\"city\":"})),
        (r#""Rome""#, json!({"arguments": "Rome"})),
    ] {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":null,
                "tool_calls":[{{"id":"a","function":{{"name":"f","arguments":{written}}}}},{{"id":"b","type":null,"function":{{"name":"f"}}}}]}}]}}"#
        );
        for provider in PROVIDERS {
            let calls = &value(&body, candidate(provider))["messages"][1]["tool_calls"];
            let arguments = |at: usize| -> Value {
                serde_json::from_str(calls[at]["function"]["arguments"].as_str().unwrap()).unwrap()
            };
            assert_eq!((arguments(0), arguments(1)), (wanted.clone(), json!({})), "{provider}: {written}");
            assert_eq!((&calls[0]["type"], &calls[1]["type"]), (&json!("function"), &json!("function")));
        }
    }
}

#[test]
fn calls_without_an_id_of_their_own_get_one_and_their_results_too() {
    for (first, second) in [("\"x\"", "\"x\""), ("\"\"", "\"\""), ("null", "null"), ("\"a\"", "null")] {
        let call =
            |id: &str| format!(r#"{{"id":{id},"type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#);
        let result = |id: &str, said: &str| format!(r#"{{"role":"tool","tool_call_id":{id},"content":"{said}"}}"#);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":null,"tool_calls":[{},{}]}},{},{}]}}"#,
            call(first),
            call(second),
            result(first, "1"),
            result(second, "2")
        );
        for provider in PROVIDERS {
            let sent = value(&body, candidate(provider));
            let ids: Vec<&str> =
                (0..2).map(|at| sent["messages"][1]["tool_calls"][at]["id"].as_str().unwrap()).collect();
            assert!(!ids[0].is_empty() && !ids[1].is_empty() && ids[0] != ids[1], "{provider}: {ids:?}");
            for (at, id) in ids.iter().enumerate() {
                assert_eq!(sent["messages"][at + 2]["tool_call_id"], *id, "{provider}: {sent}");
            }
        }
    }
}

#[test]
fn void_values_are_left_out_at_every_depth() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":[],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":null},{"role":"tool","tool_call_id":"a"}],"temperature":null,"max_tokens":null,"response_format":null,"stop":[],"logit_bias":{},
        "tools":[{"type":"function","function":{"name":"f","description":null,"parameters":null,"strict":null}}]}"#;
    for provider in PROVIDERS {
        let sent = value(body, candidate(provider));
        for name in ["temperature", "response_format", "stop", "logit_bias"] {
            assert!(sent.get(name).is_none(), "{provider}: {name}");
        }
        assert_ne!(sent.get("max_tokens"), Some(&Value::Null), "{provider}");
        let function = sent["tools"][0]["function"].as_object().unwrap();
        assert!(!function.contains_key("description") && !function.contains_key("strict"), "{provider}");
        for at in 1..4 {
            assert_eq!(sent["messages"][at]["content"], "", "{provider}: {sent}");
        }
    }
}

#[test]
fn contents_take_the_form_of_the_provider() {
    let body = r#"{"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"Be "},{"type":"text","text":"brief."},{"type":"text","text":"Always."}]},
        {"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":"data:image/png;base64,AA=="}]}]}"#;
    for (provider, text) in [("groq", true), ("mistral", true), ("ollama", true), ("custom", false)] {
        let sent = value(body, candidate(provider));
        assert_eq!(sent["messages"][0]["role"], "system");
        assert_eq!(sent["messages"][0]["content"] == "Be brief.\nAlways.", text, "{provider}");
        assert_eq!(sent["messages"][1]["content"][1]["image_url"], json!({"url": "data:image/png;base64,AA=="}));
    }
}

#[test]
fn an_unknown_effort_becomes_the_nearest_known_one() {
    for (name, requested, wanted) in [
        ("groq/openai/gpt-oss-120b", "minimal", Some("low")),
        ("groq/openai/gpt-oss-120b", "max", Some("high")),
        ("groq/openai/gpt-oss-120b", "none", Some("low")),
        ("groq/openai/gpt-oss-120b", "enormous", None),
        ("groq/openai/gpt-oss-120b", "medium", Some("medium")),
        ("groq/allam-2-7b", "low", None),
        ("gemini/gemini-3.8-flash", "none", Some("minimal")),
        ("mistral/mistral-medium-2604", "medium", Some("high")),
        ("mistral/mistral-medium-2604", "minimal", Some("none")),
    ] {
        let sent = value(&with(&format!(r#","reasoning_effort":"{requested}""#)), named(name));
        assert_eq!(sent.get("reasoning_effort").and_then(Value::as_str), wanted, "{name} {requested}");
    }
}

#[test]
fn a_foreign_call_gets_the_placeholder_of_a_signature_at_gemini_3() {
    let body = |extra: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"assistant","content":"","tool_calls":[{{{extra}"id":"a","type":"function","function":{{"name":"f","arguments":"{{}}"}}}},
            {{"id":"b","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}}]}}"#
        )
    };
    let signature = |extra: &str, name: &str| value(&body(extra), named(name))["messages"][0]["tool_calls"].take();
    let calls = signature("", "gemini/gemini-3.8-flash");
    assert_eq!(calls[0]["extra_content"]["google"]["thought_signature"], "skip_thought_signature_validator");
    assert!(calls[1].get("extra_content").is_none());
    let own = r#""extra_content":{"google":{"thought_signature":"real"}},"#;
    assert_eq!(signature(own, "gemini/gemini-3.8-flash")[0]["extra_content"]["google"]["thought_signature"], "real");
    assert!(signature(own, "groq/openai/gpt-oss-120b")[0].get("extra_content").is_none());
}
