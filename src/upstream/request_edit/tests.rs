//! Bodies as each provider takes them: nothing is changed but what must be.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    protocol::chat,
    upstream::test_support::{candidate, named},
};

const PROVIDERS: [&str; 10] =
    ["groq", "gemini", "cerebras", "mistral", "ollama", "openrouter", "cloudflare", "nvidia", "cohere", "custom"];

fn sent(body: &str, candidate: &Candidate) -> String {
    let request = chat::decode(Bytes::copy_from_slice(body.as_bytes())).unwrap_or_else(|e| panic!("{body}: {e}"));
    String::from_utf8(edit_request(&request, candidate, EditContext::new(candidate, &request, false)).to_vec()).unwrap()
}

fn value(body: &str, candidate: &Candidate) -> Value {
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
    let wanted = body.replace("\"free\"", "\"openai/gpt-oss-120b\"");
    assert_eq!(sent(body, named("groq/openai/gpt-oss-120b")), wanted);
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
fn a_maximum_is_sent_where_the_default_is_absurd_and_nobody_named_one() {
    for written in ["", r#","max_tokens":null"#, r#","max_completion_tokens":null"#] {
        let sent = value(&with(written), candidate("cerebras"));
        assert_eq!((&sent["max_completion_tokens"], sent.get("max_tokens")), (&json!(4096), None), "{written}");
    }
    assert_eq!(value(&with(""), candidate("cloudflare"))["max_tokens"], 4096);
    assert_eq!(value(&with(r#","max_tokens":7"#), candidate("cerebras"))["max_completion_tokens"], 7);
    assert_eq!(value(&with(""), candidate("groq")).get("max_tokens"), None);
}

#[test]
fn usage_is_asked_for_on_streams_and_never_where_it_is_refused() {
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

/// What a provider may see changed, as paths; everything else must be there as it was.
fn intended(candidate: &Candidate, path: &str) -> bool {
    let wire = &candidate.provider.wire;
    let pattern = path.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    pattern == "model"
        || pattern == "stream_options.include_usage"
        || pattern == "max_tokens"
        || pattern == "max_completion_tokens"
        || wire.drop.iter().any(|rule| pattern == *rule || pattern.starts_with(&format!("{rule}.")))
        || wire.drop.iter().any(|rule| rule.split_once('=').is_some_and(|(name, _)| name == pattern))
        || wire.rename.iter().any(|(from, to)| pattern == *from || pattern == *to)
        || pattern == "messages[].role"
        || (pattern == "messages[].content" && wire.dialect == DialectName::Mistral)
        || (pattern.ends_with("extra_content.s"))
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

proptest! {
    /// What a provider gets is the caller's request but for the paths that its dialect names.
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
        // Unknown members keep every byte.
        for part in parts.iter().filter(|p| p.starts_with("\"x_") || p.starts_with("\"temperature")) {
            prop_assert!(out.contains(part.as_str()), "{part}\n{out}");
        }
    }
}
