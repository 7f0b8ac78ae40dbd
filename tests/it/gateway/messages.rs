//! Anthropic's Messages over scripted providers: events, errors, aborts, cut streams, and what is kept between requests.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::hand_overs::hand_overs;
use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{
        DONE, FakeUpstream, Step, answer, chunk, content, role, stop, stream, stream_head, whole, with_head,
    },
    http::{Answer, Finished, Stream},
    redis_server::RedisServer,
    scaled,
    simulator::Simulator,
};

async fn lab() -> (TestApp, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("a", &upstream).file("[timeouts]\nsilence_ms = 1500\n").start().await;
    (app, upstream)
}

fn ask(model: &str, more: &Value) -> Value {
    let mut body = json!({ "model": model, "max_tokens": 100, "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn call(app: &TestApp, body: &Value) -> reqwest::RequestBuilder {
    app.request("POST", "/v1/messages?beta=true").header("anthropic-version", "2023-06-01").json(body)
}

async fn message(app: &TestApp, body: &Value) -> Answer {
    Answer::of(call(app, body)).await
}

async fn streamed(app: &TestApp, mut body: Value) -> Finished {
    body["stream"] = true.into();
    Stream::of(call(app, &body)).await.rest().await
}

fn names(finished: &Finished) -> Vec<&str> {
    finished.events.iter().map(|event| event.strip_prefix("event: ").unwrap().split('\n').next().unwrap()).collect()
}

/// Type and message of an error, after a check of the headers and the envelope.
fn error(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    assert_eq!((&body["type"], body["request_id"].as_str()), (&json!("error"), answer.header("request-id")), "{body}");
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (answer.status, text("type"), text("message"))
}

#[tokio::test]
async fn a_message_becomes_a_chat_and_its_answer_has_anthropics_form() {
    let (app, upstream) = lab().await;
    let tools =
        json!([{ "name": "f", "input_schema": { "type": "object" } }, { "type": "web_search_20260209", "name": "s" }]);
    let answer = message(&app, &ask("a/m", &json!({ "system": "Be brief.", "tools": tools }))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["content"], &body["model"]), (&json!([{ "type": "text", "text": "hello" }]), &json!("a/m")));
    let usage = json!({ "input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 3 });
    assert_eq!((&body["stop_reason"], &body["usage"]), (&json!("end_turn"), &usage));
    assert_eq!(answer.header("x-tollfree-dropped"), Some("web_search_20260209"));
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    let sent = upstream.seen()[0].json();
    let expected = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hi" }]);
    assert_eq!((&sent["messages"], sent["tools"].as_array().unwrap().len()), (&expected, 1));
}

#[tokio::test]
async fn a_stream_arrives_event_by_event_with_the_providers_usage() {
    let (app, upstream) = lab().await;
    let usage = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":70,\"completion_tokens\":9,\"total_tokens\":79}}\n\n";
    upstream.then(stream([role(), content("one"), content("two"), stop(), usage.to_owned(), DONE.to_owned()]));
    let finished = streamed(&app, ask("a/m", &json!({}))).await;
    let expected = "message_start content_block_start content_block_delta content_block_delta content_block_stop message_delta message_stop";
    assert_eq!(names(&finished).join(" "), expected);
    let ended = &finished.chunks()[5];
    assert_eq!((&ended["usage"]["input_tokens"], &ended["usage"]["output_tokens"]), (&json!(70), &json!(9)));
    assert_eq!(upstream.seen()[0].json()["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn a_cut_stream_is_never_a_complete_message() {
    let (app, upstream) = lab().await;
    let begun = [role(), content("x")];
    for (name, script) in [
        ("closed", stream(begun.clone())),
        ("reset", [stream(begun.clone()), vec![Step::Reset]].concat()),
        ("silent", [stream(begun.clone()), vec![Step::Hold]].concat()),
        (
            "an error",
            stream([&begun[..], &["data: {\"error\":{\"message\":\"broken\",\"code\":500}}\n\n".to_owned()]].concat()),
        ),
    ] {
        upstream.then(script);
        let finished = streamed(&app, ask("a/m", &json!({}))).await;
        let names = names(&finished);
        assert_eq!(names[names.len() - 2..], ["content_block_stop", "error"], "{name}: {finished:?}");
        assert!(!names.contains(&"message_stop") && !finished.broken, "{name}");
        let error = finished.error().unwrap();
        let kind = if name == "silent" { "timeout_error" } else { "api_error" };
        assert_eq!(error["type"], kind, "{name}: {error}");
        // A success in between keeps the breaker closed.
        assert_eq!(message(&app, &ask("a/m", &json!({}))).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_upstream_call_within_100_ms() {
    let (app, upstream) = lab().await;
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        upstream.then(vec![stream_head(), Step::Bytes(content("x").into()), Step::Hold]);
        let mut stream = Stream::of(call(&app, &ask("a/m", &json!({ "stream": true })))).await;
        assert!(stream.next().await.unwrap().unwrap().starts_with("event: message_start"));
        let left = Instant::now();
        drop(stream);
        let noticed =
            eventually(Duration::from_secs(5), "the call ends", async || upstream.seen().last().unwrap().left_at);
        quickest = quickest.min(noticed.await.saturating_duration_since(left));
    }
    assert!(quickest <= scaled(Duration::from_millis(100)), "{quickest:?}");
}

#[tokio::test]
async fn errors_have_anthropics_form_and_say_when_to_retry() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("a", &upstream).lab("b", &upstream).file("limits = { rpm = 1 }\n");
    let setup = app.env("TOLLFREE_API_KEY", "team-key");
    let app = setup.env("TOLLFREE_AUTH", "required").start().await;
    let ask = |model: &str| ask(model, &json!({}));
    let with_key = |body: &Value| call(&app, body).header("x-api-key", "team-key");
    assert_eq!(error(&message(&app, &ask("a/m")).await).1, "authentication_error");
    assert_eq!(Answer::of(with_key(&ask("a/m"))).await.status, 200);
    let unknown = error(&Answer::of(with_key(&ask("nope"))).await);
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "not_found_error"));
    let wrong = json!({ "model": "a/m", "max_tokens": 9, "messages": [{ "role": "user", "content": [{ "type": "hologram" }] }] });
    let (status, kind, words) = error(&Answer::of(with_key(&wrong)).await);
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(words.starts_with("messages[0].content[0].type: "), "{words}");
    let long = json!({ "model": "a/m", "max_tokens": 9, "messages": [{ "role": "user", "content": "word ".repeat(400_000) }] });
    upstream.always(whole(
        400,
        r#"{"error":{"message":"maximum context length is 32768 tokens","code":"context_length_exceeded"}}"#,
    ));
    let (status, _, words) = error(&Answer::of(with_key(&long)).await);
    assert!(status == 400 && words.starts_with("prompt is too long"), "{status} {words}");
    upstream.always(whole(200, &answer("hello")));
    assert_eq!(Answer::of(with_key(&ask("b/m"))).await.status, 200);
    let refused = Answer::of(with_key(&ask("b/m"))).await;
    let (status, kind, words) = error(&refused);
    assert!(status == 429 && kind == "rate_limit_error" && words.contains("UTC"), "{status} {words}");
    assert!(refused.retry_after() > Duration::ZERO);
    let malformed = Answer::of(
        app.request("POST", "/v1/messages")
            .header("x-api-key", "team-key")
            .header("content-type", "application/json")
            .body("{"),
    )
    .await;
    assert_eq!(error(&malformed).1, "invalid_request_error");
}

#[tokio::test]
async fn a_refusal_of_thirty_seconds_is_one_that_claude_code_sleeps_out() {
    for wait_ms in [0, 10_000] {
        let upstream = FakeUpstream::start().await;
        let app = TestApp::setup().lab("a", &upstream).env("TOLLFREE__QUEUE__MAX_WAIT_MS", wait_ms).start().await;
        let head = "content-type: application/json\r\nretry-after: 30\r\n";
        upstream.then(with_head(429, head, r#"{"error":{"message":"Rate limit reached"}}"#));
        // The first is refused by the provider, the second by the gateway.
        for stream in [true, false] {
            let begun = Instant::now();
            let refused = Answer::of(call(&app, &ask("a/m", &json!({ "stream": stream })))).await;
            assert!(begun.elapsed() < scaled(Duration::from_secs(2)), "{:?} with {wait_ms} ms", begun.elapsed());
            let (status, kind, words) = error(&refused);
            let after: i64 = refused.header("retry-after").unwrap().parse().unwrap();
            assert_eq!((status, kind.as_str()), (429, "rate_limit_error"), "{words}");
            assert!((29..=30).contains(&after), "{after}");
            assert!(words.contains("UTC") && refused.header("x-should-retry") != Some("false"), "{words}");
            assert_eq!(upstream.seen().len(), 1);
        }
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_at_every_protocol() {
    let (app, upstream) = lab().await;
    let chat = ask("a/m", &json!({})).to_string();
    let response = json!({ "model": "a/m", "input": "hi" }).to_string();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(chat.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    for (path, coding, body) in [
        ("/v1/messages", "gzip", gzip.clone()),
        ("/v1/chat/completions", "gzip", gzip),
        ("/v1/messages", "zstd", zstd(chat.as_bytes())),
        ("/v1/responses", "zstd", zstd(response.as_bytes())),
    ] {
        let call = app.request("POST", path).header("content-type", "application/json");
        let answer = Answer::of(call.header("content-encoding", coding).body(body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(upstream.seen().last().unwrap().json()["messages"], json!([{ "role": "user", "content": "hi" }]));
    }
    let unknown = app.request("POST", "/v1/messages").header("content-type", "application/json");
    assert_eq!(error(&Answer::of(unknown.header("content-encoding", "lzma").body("x")).await).0, 415);
}

/// A frame of Zstandard with one block that is stored as it is.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let size = u8::try_from(bytes.len()).unwrap();
    let last_raw_block = (u32::from(size) << 3 | 1).to_le_bytes();
    let single_segment = [0x28, 0xB5, 0x2F, 0xFD, 0x20, size];
    [&single_segment, &last_raw_block[..3], bytes].concat()
}

#[tokio::test]
async fn tokens_are_counted_without_a_call_and_models_listed_in_anthropics_form() {
    let (app, upstream) = lab().await;
    let count = |body: &Value| app.request("POST", "/v1/messages/count_tokens").json(body);
    let few = json!({ "model": "a/m", "messages": [{ "role": "user", "content": "hi" }] });
    let tool = json!({ "name": "f", "description": "long ".repeat(100), "input_schema": { "type": "object" } });
    let many = json!({ "model": "a/m", "messages": few["messages"], "tools": [tool] });
    let (few, many) = (Answer::of(count(&few)).await.json(), Answer::of(count(&many)).await.json());
    let tokens = |counted: &Value| counted["input_tokens"].as_i64().unwrap();
    assert!(tokens(&few) > 0 && tokens(&many) > tokens(&few) + 100, "{few} {many}");
    let empty = message(&app, &ask("a/m", &json!({ "max_tokens": 0 }))).await;
    assert_eq!((&empty.json()["content"], &empty.json()["stop_reason"]), (&json!([]), &json!("max_tokens")));
    assert!(upstream.seen().is_empty());
    let models =
        Answer::of(app.request("GET", "/v1/models?limit=1000").header("anthropic-version", "2023-06-01")).await.json();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"anthropic/free-smart") && ids.contains(&"a/m"), "{ids:?}");
    assert_eq!((&models["first_id"], &models["has_more"]), (&json!(ids[0]), &json!(false)));
    for model in ["anthropic/free-smart", "claude-sonnet-4-5", "claude-3-5-haiku-latest"] {
        assert_eq!(message(&app, &ask(model, &json!({}))).await.status, 200, "{model}");
    }
}

/// Two providers whose models can call tools, and one whose model cannot.
async fn mixed(limit: &str) -> (TestApp, [FakeUpstream; 3]) {
    let upstreams = [FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await];
    let kinds = [("mute", 8_000, ""), ("large", 200_000, "\"tools\""), ("small", 100_000, "\"tools\"")];
    let tables = kinds.iter().zip(&upstreams).map(|((name, context, can), upstream)| {
        let (provider, model) = (format!("[providers.{name}]"), format!("[providers.{name}.models.m]"));
        let url = upstream.base_url();
        format!("{provider}\nbase_url = \"{url}\"\n{model}\ncontext = {context}\ncapabilities = [{can}]\n{limit}\n")
    });
    let mix = "[models.mix]\nmembers = [\"mute/m\", \"large/m\", \"small/m\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().file(&(tables.collect::<String>() + mix)).start().await;
    (app, upstreams)
}

#[tokio::test]
async fn a_model_that_cannot_call_tools_is_passed_over_where_an_agent_brings_some() {
    let (app, _upstreams) = mixed("").await;
    let tools = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
    let functions = json!([{ "type": "function", "name": "f", "parameters": { "type": "object" } }]);
    let response = |more: Value| {
        // Another opening than that of the messages, whose session stays where it is.
        let mut body = json!({ "model": "mix", "input": "hello" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.request("POST", "/v1/responses").json(&body)
    };
    for (call, provider) in [
        (call(&app, &ask("mix", &json!({}))), "mute"),
        (call(&app, &ask("mix", &json!({ "tools": tools }))), "large"),
        (response(json!({})), "mute"),
        (response(json!({ "tools": functions })), "large"),
    ] {
        let answer = Answer::of(call).await;
        assert_eq!((answer.status, answer.provider()), (200, provider), "{}", answer.text());
    }
    let long = "word ".repeat(120_000);
    let body = ask("mix", &json!({ "tools": tools, "messages": [{ "role": "user", "content": long }] }));
    assert_eq!(message(&app, &body).await.provider(), "large", "the only one whose window suffices");
}

#[tokio::test]
async fn the_list_of_models_has_the_smallest_window_and_the_live_budget_of_those_that_can_call_tools() {
    let (app, _upstreams) = mixed("limits = { rpm = 2 }").await;
    let mix = async || {
        let list = app.request("GET", "/v1/models?limit=1000").header("anthropic-version", "2023-06-01");
        let list = Answer::of(list).await.json();
        list["data"].as_array().unwrap().iter().find(|model| model["id"] == "anthropic/mix").unwrap().clone()
    };
    let model = mix().await;
    assert_eq!((&model["max_input_tokens"], &model["display_name"]), (&json!(100_000), &json!("mix")));
    assert_eq!(model["description"], "2 of 2 have budget now, up to 100 % of it left");
    let call = async |model: &str| assert_eq!(message(&app, &ask(model, &json!({}))).await.status, 200);
    call("large/m").await;
    call("large/m").await;
    call("small/m").await;
    eventually(Duration::from_secs(5), "what was used is missing in the description", async || {
        (mix().await["description"] == "1 of 2 have budget now, up to 50 % of it left").then_some(())
    })
    .await;
}

/// A tool call as Gemini sends it, streamed.
fn signed_call(id: &str, signature: &str) -> Vec<String> {
    let extra = json!({ "google": { "thought_signature": signature } });
    let call = json!({ "index": 0, "id": id, "type": "function", "extra_content": extra, "function": { "name": "f", "arguments": "{}" } });
    vec![
        chunk(&json!({ "role": "assistant", "tool_calls": [call] }).to_string(), None),
        chunk("{}", Some("tool_calls")),
        DONE.to_owned(),
    ]
}

fn sent_signature(upstream: &FakeUpstream, call: usize) -> Value {
    let sent = upstream.seen().last().unwrap().json();
    let calls = sent["messages"].as_array().unwrap().iter().find_map(|message| message.get("tool_calls")).unwrap();
    calls[call]["extra_content"]["google"]["thought_signature"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_back_at_any_replica_although_the_client_has_lost_them() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let replica = || TestApp::setup().redis(&redis).played("gemini", &upstream).start();
    let (one, two) = (replica().await, replica().await);
    let tools = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
    let model = "gemini/gemini-3.5-flash-lite";
    for signature in ["Short+/==".to_owned(), "Long+/".repeat(500)] {
        // A message whose client keeps only what it knows.
        upstream.then(stream(signed_call(&format!("call-{}", signature.len()), &signature)));
        let finished = streamed(&one, ask(model, &json!({ "tools": tools }))).await;
        let block = finished.chunks().into_iter().find(|event| event["content_block"]["type"] == "tool_use").unwrap();
        let id = &block["content_block"]["id"];
        let call = json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
        let result = json!({ "type": "tool_result", "tool_use_id": id, "content": "1" });
        let history = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": [call] }, { "role": "user", "content": [result] }]);
        let answer = message(&two, &ask(model, &json!({ "tools": tools, "messages": history }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(sent_signature(&upstream, 0), signature);
    }
    // A chat completion, not streamed.
    let extra = json!({ "google": { "thought_signature": "Whole==" } });
    let call = json!({ "id": "call-w", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let mut signed = call.clone();
    signed["extra_content"] = extra;
    let said = json!({ "role": "assistant", "content": null, "tool_calls": [signed] });
    let reply = json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": said, "finish_reason": "tool_calls" }] });
    upstream.then(whole(200, &reply.to_string()));
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let first = json!({ "model": model, "tools": tools, "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(one.chat_with(&first).await.status, 200);
    let history = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call-w", "content": "1" }]);
    upstream.then(whole(200, &answer("done")));
    assert_eq!(two.chat_with(&json!({ "model": model, "tools": tools, "messages": history })).await.status, 200);
    assert_eq!(sent_signature(&upstream, 0), "Whole==");
}

/// The content of a streamed message.
fn blocks(finished: &Finished) -> Vec<Value> {
    let (mut blocks, mut input) = (Vec::<Value>::new(), String::new());
    for event in finished.chunks() {
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                input += event["delta"]["partial_json"].as_str().unwrap_or_default();
                for field in ["text", "thinking", "signature"] {
                    if let Some(more) = event["delta"][field].as_str() {
                        block[field] = format!("{}{more}", block[field].as_str().unwrap_or_default()).into();
                    }
                }
            }
            "content_block_stop" if !input.is_empty() => {
                blocks.last_mut().unwrap()["input"] = serde_json::from_str(&std::mem::take(&mut input)).unwrap();
            }
            _ => {}
        }
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_tools_is_handed_over_between_providers_and_replicas() {
    let (simulator, redis) = (Simulator::start().await, RedisServer::start().await);
    let setup =
        || ["groq", "gemini"].iter().fold(TestApp::setup().redis(&redis), |app, name| app.simulated(&simulator, name));
    let (one, two) = (setup().start().await, setup().start().await);
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let tools = json!([{ "name": "get_weather", "input_schema": schema }]);
    let mut history = Vec::new();
    // In the middle of the loop another provider takes over, and gets the calls of both. Gemini wants back what it signed.
    for ((caller, app), (answerer, other_app), stream) in hand_overs(&one, &two) {
        history.push(json!({ "role": "user", "content": "What is the weather in Paris?" }));
        let say = async |app: &TestApp, model: &str, history: &[Value]| {
            let body = json!({ "model": model, "max_tokens": 300, "messages": history, "tools": tools });
            if stream {
                let finished = streamed(app, body).await;
                assert_eq!(names(&finished).last(), Some(&"message_stop"), "{model}: {finished:?}");
                return json!(blocks(&finished));
            }
            let answer = message(app, &body).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            answer.json()["content"].clone()
        };
        let called = say(app, caller, &history).await;
        let call = called.as_array().unwrap().iter().find(|block| block["type"] == "tool_use");
        let id = call.unwrap_or_else(|| panic!("{caller}: {called}"))["id"].clone();
        history.push(json!({ "role": "assistant", "content": called }));
        let result = json!({ "type": "tool_result", "tool_use_id": id, "content": "21 degrees" });
        history.push(json!({ "role": "user", "content": [result] }));
        let answered = say(other_app, answerer, &history).await;
        let text = answered.as_array().unwrap().iter().find_map(|block| block["text"].as_str()).unwrap_or_default();
        assert!(text.contains("21 degrees"), "{answerer}: {answered}");
        history.push(json!({ "role": "assistant", "content": answered }));
    }
}
