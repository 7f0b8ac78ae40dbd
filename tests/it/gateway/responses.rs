//! `/v1/responses`: what the provider receives, what the caller gets, and refusals in the way of each client.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::hand_overs::hand_overs;
use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{DONE, FakeUpstream, Step, chunk, content, role, stop, stream, stream_head, whole, with_head},
    http::{Answer, Finished, Stream},
    redis_server::RedisServer,
    scaled,
    simulator::Simulator,
};

async fn lab() -> (TestApp, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    (TestApp::setup().lab("lab", &upstream).start().await, upstream)
}

fn call(app: &TestApp, body: &Value) -> reqwest::RequestBuilder {
    app.request("POST", "/v1/responses").json(body)
}

async fn streamed(call: reqwest::RequestBuilder) -> Finished {
    Stream::of(call).await.rest().await
}

fn kinds(finished: &Finished) -> Vec<String> {
    finished.chunks().iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_request_is_served_as_a_chat_completion_and_answered_as_a_response() {
    let (app, upstream) = lab().await;
    let patch = r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"ns__apply_patch","arguments":"{\"input\":\"*** Begin\"}"}}]}"#;
    upstream.then(stream([role(), chunk(patch, None), chunk("{}", Some("tool_calls")), DONE.into()]));
    let body = json!({
        "model": "lab/m", "stream": true, "instructions": "Be brief.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "é \"x\""}]}],
        "tools": [{"type": "namespace", "name": "ns", "tools": [{"type": "custom", "name": "apply_patch"}]}, {"type": "web_search"}],
    });
    let finished = streamed(call(&app, &body)).await;
    assert_eq!(finished.header("x-tollfree-dropped"), Some("web_search"));
    let sent = upstream.seen()[0].json();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "é \"x\""}]);
    assert_eq!((&sent["messages"], &sent["model"]), (&messages, &json!("m")));
    assert_eq!(sent["tools"][0]["function"]["name"], "ns__apply_patch");
    let events = finished.chunks();
    let response = &events.last().unwrap()["response"];
    assert_eq!((&response["status"], &response["model"]), (&json!("completed"), &json!("lab/m")));
    let item = &response["output"][0];
    assert_eq!(
        json!([item["type"], item["namespace"], item["name"], item["call_id"], item["input"]]),
        json!(["custom_tool_call", "ns", "apply_patch", "c1", "*** Begin"])
    );
    assert!(!finished.is_done() && !finished.events.iter().any(|event| event.contains("[DONE]")), "{finished:?}");
}

#[tokio::test]
async fn a_whole_answer_of_a_provider_is_a_response_in_both_forms() {
    let (app, upstream) = lab().await;
    for streams in [false, true] {
        let finished = streamed(call(&app, &json!({"model": "lab/m", "input": "hi", "stream": streams}))).await;
        let last = finished.events.last().unwrap();
        let json: Value = if streams {
            finished.chunks().last().unwrap()["response"].clone()
        } else {
            serde_json::from_str(last).unwrap()
        };
        assert_eq!(json["output"][0]["content"][0]["text"], "hello", "{finished:?}");
        assert_eq!(json["usage"]["total_tokens"], 10);
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_cut_upstream_is_a_failed_response() {
    let (app, upstream) = lab().await;
    upstream.then(vec![stream_head(), Step::Bytes(role().into()), Step::Bytes(content("half").into())]);
    let finished = streamed(call(&app, &json!({"model": "lab/m", "input": "hi", "stream": true}))).await;
    let events = finished.chunks();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("server_error"))
    );
    assert!(last["response"]["error"]["message"].as_str().unwrap().contains("lab"), "{last}");
    assert!(!kinds(&finished).contains(&"response.completed".to_owned()), "{finished:?}");
}

#[tokio::test]
async fn a_failed_attempt_before_the_first_content_moves_on() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().lab("a", &a).lab("b", &b).file(file).start().await;
    a.then(stream([role()]));
    b.then(stream([role(), content("hello"), stop(), DONE.into()]));
    let finished = streamed(call(&app, &json!({"model": "pair", "input": "hi", "stream": true}))).await;
    assert_eq!(finished.header("x-tollfree-provider"), Some("b"));
    assert_eq!(finished.chunks().last().unwrap()["response"]["model"], "b/m");
}

/// A provider whose only request of the minute is used up.
async fn full() -> (TestApp, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    let limits = "[providers.lab]\nlimits = { rpm = 1 }\nwindow = \"sliding\"\n";
    let file = format!("{limits}base_url = \"{}\"\n[providers.lab.models.m]\n", upstream.base_url());
    let app = TestApp::setup().file(&file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    (app, upstream)
}

#[tokio::test]
async fn codex_reads_in_the_stream_how_long_to_sleep() {
    let (app, _upstream) = full().await;
    let body = json!({"model": "lab/m", "input": "hi", "stream": true});
    let plain = Answer::of(call(&app, &body)).await;
    assert_eq!(plain.error(), (429, "rate_limit_error".into(), "budget_exhausted".into()));
    let start = Instant::now();
    let finished = streamed(call(&app, &body).header("originator", "codex_cli_rs")).await;
    assert!(start.elapsed() < scaled(Duration::from_secs(2)));
    assert_eq!(
        (finished.status, kinds(&finished)),
        (200, vec!["response.created".to_owned(), "response.in_progress".to_owned(), "response.failed".to_owned(),])
    );
    let sleep = seconds_to_sleep(&finished.chunks()[2]);
    let left = plain.retry_after().as_secs_f64();
    assert!((left - 10.0..=left + 1.0).contains(&sleep), "{sleep} s against {left} s");
}

#[tokio::test]
async fn codex_sleeps_as_long_as_the_provider_says() {
    for wait_ms in [0, 10_000] {
        let upstream = FakeUpstream::start().await;
        let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE__QUEUE__MAX_WAIT_MS", wait_ms).start().await;
        let head = "content-type: application/json\r\nretry-after: 30\r\n";
        upstream.then(with_head(429, head, r#"{"error":{"message":"Rate limit reached"}}"#));
        let body = json!({"model": "lab/m", "input": "hi", "stream": true});
        for _ in 0..2 {
            let begun = Instant::now();
            let finished = streamed(call(&app, &body).header("originator", "codex_cli_rs")).await;
            assert!(begun.elapsed() < scaled(Duration::from_secs(2)), "{:?} with {wait_ms} ms", begun.elapsed());
            let last = finished.chunks().pop().unwrap();
            assert_eq!(last["type"], "response.failed", "{last}");
            let sleep = seconds_to_sleep(&last);
            assert!((29.0..=31.0).contains(&sleep), "{sleep}");
        }
        assert_eq!(upstream.seen().len(), 1);
    }
}

/// The seconds at the end of the message of a `response.failed`.
fn seconds_to_sleep(event: &Value) -> f64 {
    let error = &event["response"]["error"];
    assert_eq!(error["code"], "rate_limit_exceeded");
    let (_, time) = error["message"].as_str().unwrap().rsplit_once("try again in ").unwrap();
    time.strip_suffix('s').unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_refusal_without_a_stream_or_beyond_a_minute_has_its_status() {
    let upstream = FakeUpstream::start().await;
    let limits = "[providers.lab]\nlimits = { rph = 1 }\nwindow = \"sliding\"\n";
    let file = format!("{limits}base_url = \"{}\"\n[providers.lab.models.m]\n", upstream.base_url());
    let app = TestApp::setup().file(&file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let body = |stream: bool| json!({"model": "lab/m", "input": "hi", "stream": stream});
    for stream in [true, false] {
        let answer = Answer::of(call(&app, &body(stream)).header("originator", "codex_exec")).await;
        assert_eq!(answer.error().0, 429, "{}", answer.text());
        assert!(answer.retry_after() > Duration::from_mins(1));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_upstream_call_within_100_ms() {
    let (app, upstream) = lab().await;
    let mut quickest = Duration::MAX;
    // One of three attempts must be in time, because the machine may be busy.
    for turn in 0..3 {
        upstream.then(vec![stream_head(), Step::Bytes(content("x").into()), Step::Hold]);
        let mut stream = Stream::of(call(&app, &json!({"model": "lab/m", "input": "hi", "stream": true}))).await;
        stream.next().await.unwrap().unwrap();
        let left = Instant::now();
        drop(stream);
        let noticed = eventually(Duration::from_secs(5), "noticed", async || upstream.seen()[turn].left_at).await;
        quickest = quickest.min(noticed.saturating_duration_since(left));
    }
    assert!(quickest <= scaled(Duration::from_millis(100)), "{quickest:?}");
}

#[tokio::test]
async fn a_silent_stream_gets_events_that_codex_counts_as_life() {
    let (app, upstream) = lab().await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    upstream.then(vec![
        stream_head(),
        Step::Bytes(role().into()),
        Step::Gate(gate.clone()),
        Step::Bytes(content("late").into()),
        Step::Bytes(stop().into()),
        Step::Bytes(DONE.into()),
    ]);
    let mut stream = Stream::of(call(&app, &json!({"model": "lab/m", "input": "hi", "stream": true}))).await;
    let mut events = Vec::new();
    // The status is held for ten seconds; then the response begins, with a sign of life.
    while events.len() < 3 {
        events.push(stream.next().await.unwrap().unwrap());
    }
    gate.notify_one();
    let finished = stream.rest().await;
    let first: Value = serde_json::from_str(events[2].split_once("data: ").unwrap().1).unwrap();
    assert_eq!((&first["type"], &first["sequence_number"]), (&json!("keepalive"), &json!(2)));
    let last = finished.chunks().pop().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["output"][0]["content"][0]["text"]),
        (&json!("response.completed"), &json!("late"))
    );
}

#[tokio::test]
async fn a_compaction_is_opened_by_every_replica_with_the_same_key() {
    let upstream = FakeUpstream::start().await;
    let setup = |key: &str| TestApp::setup().lab("lab", &upstream).env("TOLLFREE_SEAL_KEY", key);
    let (one, two) = (setup("a-shared-secret").start().await, setup("a-shared-secret").start().await);
    let other = setup("another-secret").start().await;
    let compact = one.request("POST", "/v1/responses/compact");
    let compacted = Answer::of(compact.json(&json!({"model": "lab/m", "input": "hi"}))).await;
    assert_eq!(compacted.status, 200, "{}", compacted.text());
    let next =
        json!({"model": "lab/m", "input": [compacted.json()["output"][0], {"role": "user", "content": "go on"}]});
    assert_eq!(Answer::of(call(&two, &next)).await.status, 200);
    let opened = upstream.seen().pop().unwrap().json();
    assert!(opened["messages"][0]["content"].as_str().unwrap().ends_with("hello"), "the summary is read: {opened}");
    let refused = Answer::of(call(&other, &next)).await;
    assert_eq!(refused.error(), (400, "invalid_request_error".into(), "invalid_value".into()));
    assert_eq!(refused.json()["error"]["param"], "input[0].encrypted_content");
}

#[tokio::test]
async fn a_large_body_passes() {
    let (app, upstream) = lab().await;
    upstream.then(whole(200, &crate::support::fake_upstream::answer("seen")));
    let text = "x".repeat(2 << 20);
    let answer = Answer::of(call(&app, &json!({"model": "lab/m", "input": text}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn input_tokens_are_estimated_without_a_call() {
    let (app, upstream) = lab().await;
    let count = async |body: Value| {
        let answer = Answer::of(app.request("POST", "/v1/responses/input_tokens").json(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["object"], "response.input_tokens");
        answer.json()["input_tokens"].as_i64().unwrap()
    };
    let few = count(json!({"model": "lab/m", "input": "hello"})).await;
    let many = count(json!({"model": "lab/m", "input": "hello ".repeat(100)})).await;
    assert!(0 < few && few + 100 < many, "{few} and {many}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn codex_gets_a_catalogue_with_the_smallest_window_of_each_meta_model() {
    let upstream = FakeUpstream::start().await;
    let models = |provider: &str, context: u32, can: &str| {
        let url = upstream.base_url();
        format!(
            "[providers.{provider}]\nbase_url = \"{url}\"\n[providers.{provider}.models.m]\ncontext = {context}\ncapabilities = [{can}]\n"
        )
    };
    let file = [
        models("large", 200_000, r#""tools", "reasoning""#),
        models("small", 100_000, r#""tools", "vision""#),
        models("mute", 8_000, ""),
        "[models.mine]\nmembers = [\"large/m\", \"small/m\", \"mute/m\"]\n".to_owned(),
        // Nobody states what this one can do.
        format!("[providers.unknown]\nbase_url = \"{}\"\n[providers.unknown.models.m]\n", upstream.base_url()),
    ];
    let app = TestApp::setup().file(&file.concat()).start().await;
    let catalogue = app.get("/v1/models?client_version=0.171.0").await.json();
    let of = |slug: &str| catalogue["models"].as_array().unwrap().iter().find(|model| model["slug"] == slug);
    let mine = of("mine").unwrap();
    assert_eq!((&mine["context_window"], &mine["max_context_window"]), (&json!(100_000), &json!(100_000)));
    assert!(mine["auto_compact_token_limit"].as_i64().unwrap() < 95_000, "{mine}");
    assert_eq!(mine["input_modalities"], json!(["text", "image"]));
    assert_eq!(mine["supported_reasoning_levels"][1]["effort"], "medium");
    assert_eq!((&mine["apply_patch_tool_type"], &mine["tool_mode"]), (&json!("freeform"), &Value::Null));
    assert!(mine["description"].as_str().unwrap().starts_with("2 models on the shared budget. 100 %"), "{mine}");
    assert!(of("mute/m").is_none() && of("large/m").is_some() && of("unknown/m").is_some(), "{catalogue}");
    assert_eq!(of("small/m").unwrap()["supported_reasoning_levels"], json!([]));
    assert!(app.get("/v1/models").await.json()["data"].is_array());
}

/// A response that any replica stores for a client.
async fn stored(app: &TestApp, key: &str, body: &Value) -> Value {
    let answer = Answer::of(call(app, body).bearer_auth(key)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["store"], true);
    answer.json()
}

#[tokio::test]
async fn a_stored_response_is_continued_at_any_replica_by_its_own_client() {
    let (upstream, redis) = (FakeUpstream::start().await, RedisServer::start().await);
    let setup = || {
        let setup = TestApp::setup().lab("lab", &upstream).redis(&redis).env("TOLLFREE_ADMIN_KEY", "the-admin-key");
        setup.file("[responses]\nstore = \"7d\"\n").env("TOLLFREE_API_KEY", "shared-key")
    };
    let (one, two) = (setup().start().await, setup().start().await);
    let first = stored(&one, "shared-key", &json!({"model": "lab/m", "input": "first", "instructions": "i"})).await;
    let id = first["id"].as_str().unwrap().to_owned();
    let next = json!({"model": "lab/m", "input": "second", "previous_response_id": id});
    let second = stored(&two, "shared-key", &next).await;
    assert_eq!(second["previous_response_id"], json!(id));
    let sent = upstream.seen().pop().unwrap().json();
    let roles: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|m| (&m["role"], &m["content"])).collect();
    let expected = [("user", "first"), ("assistant", "hello"), ("user", "second")].map(|(r, c)| (json!(r), json!(c)));
    assert_eq!(roles, expected.iter().map(|(role, content)| (role, content)).collect::<Vec<_>>());

    // An item can be named by its id alone.
    let item = first["output"][0]["id"].as_str().unwrap();
    let by_reference = json!([{"role": "user", "content": "a"}, {"type": "item_reference", "id": item}, {"role": "user", "content": "b"}]);
    stored(&two, "shared-key", &json!({"model": "lab/m", "input": by_reference})).await;
    assert_eq!(upstream.seen().pop().unwrap().json()["messages"][1]["content"], "hello");

    let get = async |key: &str, path: &str| Answer::of(two.request("GET", path).bearer_auth(key)).await;
    let path = format!("/v1/responses/{id}");
    assert_eq!(get("shared-key", &path).await.json(), first);
    let items = get("shared-key", &format!("{path}/input_items")).await.json();
    assert_eq!((&items["data"][0]["content"][0]["text"], &items["has_more"]), (&json!("first"), &json!(false)));
    assert_eq!(get("the-admin-key", &path).await.error().0, 404, "another client");
    let theirs = Answer::of(call(&one, &next).bearer_auth("the-admin-key")).await;
    assert_eq!(theirs.error(), (400, "invalid_request_error".into(), "previous_response_not_found".into()));
    let cancelled = two.request("POST", &format!("{path}/cancel")).bearer_auth("shared-key");
    assert_eq!(Answer::of(cancelled).await.error().0, 400);

    let unstored = json!({"model": "lab/m", "input": "x", "store": false});
    let unstored = Answer::of(call(&one, &unstored).bearer_auth("shared-key")).await.json();
    assert_eq!(unstored["store"], false);
    assert_eq!(get("shared-key", &format!("/v1/responses/{}", unstored["id"].as_str().unwrap())).await.error().0, 404);

    let deleted = Answer::of(two.request("DELETE", &path).bearer_auth("shared-key")).await;
    assert_eq!(deleted.json(), json!({"id": id, "object": "response", "deleted": true}));
    assert_eq!(get("shared-key", &path).await.error().0, 404);
    assert_eq!(Answer::of(call(&one, &next).bearer_auth("shared-key")).await.error().0, 400);
}

#[tokio::test]
async fn a_streamed_response_is_stored_and_a_failed_one_is_not() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE__RESPONSES__STORE", "1h").start().await;
    let body = json!({"model": "lab/m", "input": "hi", "stream": true});
    for (script, is_stored) in [
        (stream([role(), content("hello"), stop(), DONE.into()]), true),
        (vec![stream_head(), Step::Bytes(content("half").into())], false),
    ] {
        upstream.then(script);
        let last = streamed(call(&app, &body)).await.chunks().pop().unwrap()["response"].clone();
        let found = app.get(&format!("/v1/responses/{}", last["id"].as_str().unwrap())).await;
        assert_eq!(found.status == 200, is_stored, "{}", found.text());
        assert!(!is_stored || found.json() == last);
    }
}

#[tokio::test]
async fn a_conversation_that_fits_no_model_is_refused_or_cut_as_requested() {
    let upstream = FakeUpstream::start().await;
    let url = upstream.base_url();
    let file = format!("[providers.lab]\nbase_url = \"{url}\"\n[providers.lab.models.m]\ncontext = 4000\n");
    let app = TestApp::setup().file(&file).start().await;
    let turns: Vec<Value> =
        (0..40).map(|n| json!({"role": "user", "content": format!("{n} {}", "word ".repeat(100))})).collect();
    let body =
        |truncation: &str| json!({"model": "lab/m", "instructions": "Stay.", "input": turns, "truncation": truncation});
    let refused = Answer::of(call(&app, &body("disabled"))).await;
    assert_eq!(refused.error(), (400, "invalid_request_error".into(), "context_length_exceeded".into()));
    assert_eq!(refused.json()["error"]["param"], "input");
    let cut = Answer::of(call(&app, &body("auto"))).await;
    assert_eq!((cut.status, &cut.json()["truncation"]), (200, &json!("auto")), "{}", cut.text());
    let sent = upstream.seen()[0].json();
    let messages = sent["messages"].as_array().unwrap();
    assert!((5..35).contains(&messages.len()), "{}", messages.len());
    assert_eq!(messages[0]["content"], "Stay.");
    assert!(messages.last().unwrap()["content"].as_str().unwrap().starts_with("39 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_handed_over_between_providers_and_replicas() {
    let (simulator, redis) = (Simulator::start().await, RedisServer::start().await);
    let setup = || {
        let setup = TestApp::setup().redis(&redis).env("TOLLFREE_SEAL_KEY", "a-shared-secret");
        ["groq", "gemini"].iter().fold(setup, |app, provider| app.simulated(&simulator, provider))
    };
    let (one, two) = (setup().start().await, setup().start().await);
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": parameters}]);
    let mut history = Vec::new();
    // A call of one provider is answered by the other, which sees the calls of both. Gemini wants back what it signed.
    for ((caller, app), (answerer, other_app), stream) in hand_overs(&one, &two) {
        history.push(json!({"role": "user", "content": "What is the weather in Paris?"}));
        let ask = async |app: &TestApp, model: &str, history: &[Value]| {
            let body = json!({"model": model, "input": history, "tools": tools, "max_output_tokens": 300,
                "include": ["reasoning.encrypted_content"], "stream": stream});
            if stream {
                let last = streamed(call(app, &body)).await.chunks().pop().unwrap();
                assert_eq!(last["type"], "response.completed", "{model}: {last}");
                return last["response"]["output"].as_array().unwrap().clone();
            }
            let answer = Answer::of(call(app, &body)).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            answer.json()["output"].as_array().unwrap().clone()
        };
        let called = ask(app, caller, &history).await;
        let call_id =
            called.last().unwrap()["call_id"].as_str().unwrap_or_else(|| panic!("{caller}: {called:?}")).to_owned();
        history.extend(called);
        history.push(json!({"type": "function_call_output", "call_id": call_id, "output": "21 degrees"}));
        let answered = ask(other_app, answerer, &history).await;
        let text = answered.last().unwrap()["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("21 degrees"), "{answerer}: {answered:?}");
        history.extend(answered);
    }
}
