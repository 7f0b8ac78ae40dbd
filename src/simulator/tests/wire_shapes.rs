//! Compares every dialect with the recorded bodies: the same fields in the same order, of the same types.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::simulator::{
    accounting::limit::{LimitName, WindowKind},
    accounting::meter::Limit,
    accounting::window::{HitReason, LimitHit, LimitStatus},
    completion::Completion,
    dialects::request_checks::RequestError,
    profile::Profile,
    provider::{Model, Provider},
    recorded::Case,
    request::SimulatedRequest,
    rng::Rng,
};

/// The fields in order with their types: `{id:s,choices:[{index:n}]}`. Equal items of an array count once.
#[derive(Debug, PartialEq, Eq)]
struct Shape(String);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Shape;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
                Ok(Shape("s".into()))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape("n".into()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape("n".into()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape("b".into()))
            }

            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape("null".into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
                let mut shapes = Vec::new();
                while let Some(Shape(shape)) = items.next_element()? {
                    if shapes.last() != Some(&shape) {
                        shapes.push(shape);
                    }
                }
                Ok(Shape(format!("[{}]", shapes.join(","))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Shape, A::Error> {
                let mut shapes = Vec::new();
                while let Some((name, Shape(shape))) = members.next_entry::<String, Shape>()? {
                    shapes.push(format!("{name}:{shape}"));
                }
                Ok(Shape(format!("{{{}}}", shapes.join(","))))
            }
        }
        reader.deserialize_any(Reader)
    }
}

fn shape(json: &str) -> String {
    serde_json::from_str::<Shape>(json).unwrap_or_else(|error| panic!("{error}: {json}")).0
}

/// The shapes of a stream's events. Equal events in a row count once.
fn stream_shape(stream: &str) -> Vec<String> {
    let mut shapes: Vec<String> = Vec::new();
    for line in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let shape = if line == "[DONE]" { line.to_owned() } else { shape(line) };
        if shapes.last() != Some(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

fn provider(id: &str, over: &Value) -> Provider {
    let over: Profile = serde_json::from_value(over.clone()).unwrap();
    Provider::build(id, &Profile::real().merged(&over).unwrap().settings().unwrap().providers[id]).unwrap()
}

/// A provider, one of its models, and the completion of a request for that model.
fn completed(id: &str, model: &str, mut body: Value) -> (Provider, Arc<Model>, Completion) {
    body["model"] = json!(model);
    body["messages"] = json!([{"role": "user", "content": "hello [[reasoning=8 size=8]]"}]);
    let provider = provider(id, &json!({}));
    let request = SimulatedRequest::parse(body.to_string().as_bytes()).unwrap();
    let model = Arc::clone(provider.model(model).unwrap());
    let answer = Completion::generate(&request, &provider, &model, 0, &Rng::new(1));
    (provider, model, answer)
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}}}}])
}

fn text(case: &str) -> String {
    String::from_utf8(Case::find(case).unwrap_or_else(|| panic!("{case}")).body().to_vec()).unwrap()
}

#[test]
fn whole_responses_have_the_recorded_shape() {
    for (case, model, body) in [
        ("groq.success", "openai/gpt-oss-120b", json!({})),
        ("groq.success-tools", "openai/gpt-oss-120b", json!({"tools": tools()})),
        ("gemini.success", "gemini-3.8-flash", json!({})),
        ("gemini.success-tools", "gemini-3.8-flash", json!({"tools": tools()})),
        ("gemini.success-empty", "gemini-3.8-flash", json!({"max_tokens": 2})),
        ("cerebras.success", "gpt-oss-120b", json!({})),
        ("mistral.success", "mistral-small-2603", json!({})),
        ("mistral.success-tools", "mistral-small-2603", json!({"tools": tools()})),
        ("mistral.success-thinking", "mistral-small-2603", json!({"reasoning_effort": "high"})),
        ("ollama.success", "gpt-oss:20b", json!({})),
        ("ollama.success-tools", "llama3.2", json!({"tools": tools()})),
    ] {
        let (provider, _, answer) = completed(case.split_once('.').unwrap().0, model, body);
        let mut wanted = shape(&text(case));
        if case == "groq.success-tools" {
            // The recorded usage has no details of reasoning.
            wanted = wanted.replace("total_time:n}", "total_time:n,completion_tokens_details:{reasoning_tokens:n}}");
            wanted = wanted.replace("x_groq:{id:s}", "x_groq:{id:s,seed:n}");
        }
        assert_eq!(shape(&provider.dialect.implementation().whole(&provider, &answer)), wanted, "{case}");
    }
}

#[test]
fn streams_have_the_recorded_shape() {
    let usage = json!({"include_usage": true});
    for (case, model, body) in [
        ("groq.stream-reasoning", "openai/gpt-oss-120b", json!({})),
        ("groq.stream", "allam-2-7b", json!({})),
        ("groq.stream-usage", "allam-2-7b", json!({"stream_options": usage})),
        ("gemini.stream", "gemini-3.8-flash", json!({})),
        ("gemini.stream-usage", "gemini-3.8-flash", json!({"stream_options": usage})),
        ("cerebras.stream", "gpt-oss-120b", json!({})),
        ("mistral.stream", "ministral-8b-2512", json!({})),
        ("mistral.stream-tools", "ministral-8b-2512", json!({"tools": tools()})),
        ("ollama.stream", "llama3.2", json!({})),
        ("ollama.stream-usage", "gpt-oss:20b", json!({"stream_options": usage})),
        ("ollama.stream-tools", "llama3.2", json!({"tools": tools()})),
        ("cerebras.stream-tools", "gemma-4-31b", json!({"tools": tools()})),
    ] {
        let (provider, _, answer) = completed(case.split_once('.').unwrap().0, model, body);
        let events = provider.dialect.implementation().events(&provider, &answer);
        let stream: String = events.iter().map(|event| event.text.as_str()).collect();
        let wanted = stream_shape(&text(case));
        assert_eq!(stream_shape(&stream), wanted, "{case}");
        assert!(events.iter().any(|event| event.tokens > 0), "{case}");
    }
}

#[test]
fn a_stream_sends_as_many_tokens_as_its_usage_counts() {
    for (id, model) in [
        ("groq", "openai/gpt-oss-120b"),
        ("cerebras", "gpt-oss-120b"),
        ("mistral", "ministral-8b-2512"),
        ("ollama", "gpt-oss:20b"),
    ] {
        for body in [json!({}), json!({"tools": tools()})] {
            let (provider, _, answer) = completed(id, model, body);
            let events = provider.dialect.implementation().events(&provider, &answer);
            assert_eq!(events.iter().map(|event| event.tokens).sum::<i64>(), answer.output_tokens, "{id}");
        }
    }
}

#[test]
fn parallel_calls_of_gemini_have_no_index_and_only_the_first_is_signed() {
    let (provider, _, mut answer) = completed("gemini", "gemini-3.8-flash", json!({"tools": tools()}));
    answer.calls.push(crate::simulator::completion::Call {
        name: "get_weather".into(),
        arguments: r#"{"city":"Rome"}"#.into(),
    });
    let events = provider.dialect.implementation().events(&provider, &answer);
    let stream: String = events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(stream_shape(&stream), stream_shape(&text("gemini.stream-tools")));
}

/// A refusal by one limit.
fn hit(name: LimitName, kind: WindowKind, max: i64, used: i64, requested: i64, wait_us: i64) -> LimitHit {
    let limit = Limit { name, kind, max, zone: TimeZone::UTC };
    LimitHit { limit, used, requested, wait_us, reason: if max == 0 { HitReason::Zero } else { HitReason::Full } }
}

fn status(name: LimitName, max: i64, remaining: i64, until_full_us: i64) -> LimitStatus {
    LimitStatus { name, max, remaining, until_full_us, next_us: until_full_us }
}

#[test]
fn the_429s_of_groq_equal_the_recorded_ones() {
    let provider = provider("groq", &json!({}));
    let model = provider.model("openai/gpt-oss-120b").unwrap();
    for (case, hit, statuses) in [
        (
            "groq.429-tpm",
            hit(LimitName::Tpm, WindowKind::Bucket, 8_000, 2_591, 5_863, 3_405_000),
            [status(LimitName::Rpd, 1_000, 992, 691_200_000), status(LimitName::Tpm, 8_000, 5_409, 19_432_500)],
        ),
        (
            "groq.429-rpm",
            hit(LimitName::Rpm, WindowKind::Bucket, 30, 30, 1, 2_000_000),
            [status(LimitName::Rpd, 1_000, 955, 3_888_000_000), status(LimitName::Tpm, 8_000, 6_100, 14_250_000)],
        ),
        (
            "groq.429-rpd",
            hit(LimitName::Rpd, WindowKind::Bucket, 1_000, 1_000, 1, 86_400_000),
            [status(LimitName::Rpd, 1_000, 0, 86_400_000_000), status(LimitName::Tpm, 8_000, 8_000, 0)],
        ),
        (
            "groq.429-tpd",
            hit(LimitName::Tpd, WindowKind::Bucket, 200_000, 199_500, 1_500, 432_000_000),
            [status(LimitName::Rpd, 1_000, 400, 51_840_000_000), status(LimitName::Tpm, 8_000, 8_000, 0)],
        ),
    ] {
        let reply = provider.dialect.implementation().limit_error(&provider, model, &hit, &statuses);
        let recorded = text(case).replace("org_01exampleexampleexample00", "org_01simulatedsimulated000000");
        assert_eq!(reply.body, recorded, "{case}");
        for (name, value) in
            Case::find(case).unwrap().headers().filter(|(name, _)| *name != "content-type" && *name != "x-request-id")
        {
            let sent = reply.headers.iter().find(|(sent, _)| *sent == name);
            assert_eq!(sent.map(|(_, value)| value.as_str()), Some(value), "{case}: {name}");
        }
    }
}

#[test]
fn other_429s_have_the_recorded_body() {
    let minute = |max| hit(LimitName::Rpm, WindowKind::Clock, max, max, 1, 38_123_456);
    for (case, model, hit) in [
        ("gemini.429-rpm", "gemini-3.8-flash", minute(5)),
        ("gemini.429-tpm", "gemini-3.8-flash", hit(LimitName::Tpm, WindowKind::Clock, 250_000, 250_000, 9, 12_500_000)),
        (
            "gemini.429-rpd-long",
            "gemini-3.6-flash",
            hit(LimitName::Rpd, WindowKind::Calendar, 20, 20, 1, 40_085_000_000),
        ),
        ("gemini.429-zero", "gemini-3.1-pro-preview", hit(LimitName::Rpd, WindowKind::Calendar, 0, 0, 1, 0)),
        ("cerebras.429-rpm", "gpt-oss-120b", minute(5)),
        ("cerebras.429-tpd", "gpt-oss-120b", hit(LimitName::Tpd, WindowKind::Bucket, 1_000_000, 1_000_000, 9, 9)),
        ("mistral.429-rpm", "mistral-small-2603", minute(50)),
        ("ollama.503-overload", "llama3.2", hit(LimitName::Concurrency, WindowKind::Sliding, 1, 1, 1, 1)),
    ] {
        let provider = provider(case.split_once('.').unwrap().0, &json!({}));
        let reply = provider.dialect.implementation().limit_error(&provider, provider.model(model).unwrap(), &hit, &[]);
        let seconds = undated(&reply.body);
        let status = Case::find(case).unwrap().status();
        assert_eq!((reply.status, seconds), (status, undated(&text(case))), "{case}");
    }
}

/// A body without the digits of its waits, which depend on the time of the test.
fn undated(body: &str) -> String {
    let (head, tail) = body.split_once("Please retry in ").unwrap_or((body, ""));
    let tail: String = tail.chars().filter(|letter| !letter.is_ascii_digit() && !"hms.".contains(*letter)).collect();
    format!("{head}{tail}").split_whitespace().collect()
}

#[test]
fn request_errors_have_the_recorded_body() {
    let unknown = |name: &str, value: Value| RequestError::Unknown { path: vec![name.into()], value };
    for (case, request_error) in [
        ("groq.401-key", RequestError::Key),
        ("groq.403-cloudflare", RequestError::Bot),
        ("groq.404-model", RequestError::NoSuchModel("llama-9".into())),
        ("groq.400-decommissioned", RequestError::Retired("llama-3.3-70b-versatile".into())),
        ("groq.400-param", unknown("store", json!(true))),
        (
            "groq.400-message-field",
            RequestError::InMessage { at: 1, role: "assistant".into(), field: "reasoning_content".into() },
        ),
        ("groq.400-max-tokens", RequestError::MaxTokens { most: 16_384 }),
        ("groq.400-context", RequestError::Context { tokens: 1, most: 1 }),
        ("gemini.400-key", RequestError::Key),
        ("gemini.404-model", RequestError::NoSuchModel("gemini-9-flash".into())),
        ("gemini.404-retired", RequestError::Retired("gemini-2.5-flash-lite".into())),
        ("gemini.400-param", unknown("frequency_penalty", json!(0))),
        ("gemini.400-context", RequestError::Context { tokens: 1_200_000, most: 1_048_576 }),
        ("gemini.400-signature", RequestError::Signature),
        ("cerebras.401-key", RequestError::Key),
        ("cerebras.402-payment", RequestError::NotOnPlan("gpt-oss-120b".into())),
        ("cerebras.404-model", RequestError::NoSuchModel("llama-9".into())),
        ("cerebras.404-archived", RequestError::Retired("zai-glm-4.7".into())),
        ("cerebras.422-param", unknown("store", json!(true))),
        ("cerebras.400-context", RequestError::Context { tokens: 23_592, most: 8_192 }),
        ("mistral.401-key", RequestError::Key),
        ("mistral.400-model", RequestError::NoSuchModel("mistral-nope".into())),
        ("mistral.403-tier", RequestError::NotOnPlan("mistral-large-2512".into())),
        ("mistral.422-param", unknown("max_completion_tokens", json!(32_000))),
        ("mistral.400-context", RequestError::Context { tokens: 300_000, most: 131_072 }),
        ("ollama.404-model", RequestError::NoSuchModel("nope".into())),
    ] {
        let provider = provider(case.split_once('.').unwrap().0, &json!({}));
        let reply = provider.dialect.implementation().request_error(&provider, &request_error);
        let recorded = Case::find(case).unwrap();
        assert_eq!((reply.status, reply.body), (recorded.status(), text(case)), "{case}");
    }
}

#[test]
fn requests_are_refused_for_the_same_causes_as_by_the_provider() {
    let user = json!({"role": "user", "content": "hi"});
    let call = |id: &str| json!({"role": "assistant", "content": "", "tool_calls": [{"id": id, "function": {"name": "f", "arguments": "{}"}}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
    let image =
        json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]});
    for (case, model, body) in [
        (
            "groq.400-schema",
            "openai/gpt-oss-120b",
            json!({"messages": [user], "response_format": {"type": "json_schema", "json_schema":
            {"name": "answer", "schema": {"type": "array", "minItems": 1}}}}),
        ),
        (
            "mistral.422-stream-options",
            "ministral-8b-2512",
            json!({"messages": [user], "stream_options": {"include_usage": true}}),
        ),
        ("mistral.400-order", "ministral-8b-2512", json!({"messages": [user, {"role": "assistant", "content": "x"}]})),
        (
            "mistral.400-order-tool",
            "ministral-8b-2512",
            json!({"messages": [user, call("abcdefgh1"), result("abcdefgh1"), user]}),
        ),
        ("mistral.400-tool-id", "ministral-8b-2512", json!({"messages": [user, call("turn1_0"), result("turn1_0")]})),
        ("gemini.400-signature", "gemini-3.8-flash", json!({"messages": [user, call("a"), result("a")]})),
        ("ollama.400-image", "gemma3:4b", json!({"messages": [image]})),
        ("ollama.400-tools", "gemma3:4b", json!({"messages": [user], "tools": tools()})),
        ("ollama.400-param", "gpt-oss:20b", json!({"messages": [user], "reasoning_effort": "turbo"})),
    ] {
        let provider = provider(case.split_once('.').unwrap().0, &json!({}));
        let mut body = body;
        body["model"] = json!(model);
        let request = SimulatedRequest::parse(body.to_string().as_bytes()).unwrap();
        let dialect = provider.dialect.implementation();
        let request_error = dialect
            .check(&provider, provider.model(model).unwrap(), &request)
            .unwrap_or_else(|| panic!("{case} passes"));
        assert_eq!(dialect.request_error(&provider, &request_error).body, text(case), "{case}");
    }
}

#[test]
fn accepted_requests_pass() {
    let user = json!({"role": "user", "content": "hi"});
    for (id, model, body) in [
        (
            "groq",
            "openai/gpt-oss-120b",
            json!({"messages": [user], "temperature": 0, "stream": true, "stream_options": {"include_usage": true}}),
        ),
        ("gemini", "gemini-3.8-flash", json!({"messages": [user], "n": 2, "extra_body": {"google": {}}})),
        ("cerebras", "gpt-oss-120b", json!({"messages": [user], "max_completion_tokens": 5, "frequency_penalty": 1})),
        ("mistral", "ministral-8b-2512", json!({"messages": [user], "random_seed": 1, "max_tokens": 5})),
        ("ollama", "llama3.2", json!({"messages": [user], "whatever": 1})),
    ] {
        let provider = provider(id, &json!({}));
        let mut body = body;
        body["model"] = json!(model);
        let request = SimulatedRequest::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            provider.dialect.implementation().check(&provider, provider.model(model).unwrap(), &request),
            None,
            "{id}"
        );
    }
}

#[test]
fn gemini_refuses_null_inside_messages() {
    let provider = provider("gemini", &json!({}));
    let model = provider.model("gemini-3.8-flash").unwrap();
    let refuses = |message: Value| {
        let body = json!({"model": "gemini-3.8-flash", "messages": [{"role": "user", "content": "hi"}, message]});
        let request = SimulatedRequest::parse(body.to_string().as_bytes()).unwrap();
        provider.dialect.implementation().check(&provider, model, &request).is_some()
    };
    assert!(!refuses(json!({"role": "assistant", "content": null})));
    assert!(refuses(json!({"role": "assistant", "content": "a", "refusal": null})));
    assert!(refuses(json!({"role": "user", "content": [{"type": "text", "text": "a", "image_url": null}]})));
}

#[test]
fn model_lists_have_the_recorded_entries() {
    for id in ["groq", "gemini", "cerebras", "mistral", "ollama"] {
        let provider = provider(id, &json!({}));
        let first = |list: &str| {
            let list: Value = serde_json::from_str(list).unwrap();
            let mut names: Vec<String> = list["data"][0].as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(
            first(&provider.dialect.implementation().models(&provider, 1)),
            first(&text(&format!("{id}.models"))),
            "{id}"
        );
    }
}
