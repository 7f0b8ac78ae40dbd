//! One trace per request: names, parents, kinds and attributes for every outcome of a request.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp, hi},
    collector::{Collector, SeenSpan, named},
    eventually,
    fake_upstream::{DONE, FakeUpstream, Step, content, stop, stream, stream_head, whole},
    http::Answer,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CHAT: &str = "POST /v1/chat/completions";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

fn gateway(collector: &Collector) -> Setup {
    collector.attach(TestApp::setup()).env("TOLLFREE_AUTH", "open")
}

/// Checks that all spans are below the server's and within its time, except for the settlement after it.
fn assert_one_tree(spans: &[SeenSpan]) {
    let server = named(spans, CHAT);
    for span in spans.iter().filter(|span| span.id != server.id) {
        assert_eq!(span.parent, server.id, "{} below the server's span", span.name);
        assert!(span.start >= server.start, "{} begins within the request", span.name);
        assert!(span.name == "settle" || span.end <= server.end, "{} ends within the request", span.name);
    }
}

#[tokio::test]
async fn a_request_is_one_trace_from_its_caller_to_the_settle() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let setup = gateway(&collector).lab("lab", &upstream);
    let app = setup.env("OTEL_SERVICE_NAME", "edge").env("OTEL_RESOURCE_ATTRIBUTES", "team=blue").start().await;
    let body = json!({
        "model": "lab/m", "messages": [{ "role": "user", "content": "hi" }], "temperature": 0.5, "top_p": 0.9,
        "max_tokens": 64, "seed": 7, "presence_penalty": 0.25, "frequency_penalty": -0.5,
    });
    let call = app.chat_call(&body).header("traceparent", traceparent()).header("tracestate", "vendor=1");
    let answer = Answer::of(call.header("x-request-id", "job-1").header("user-agent", "test/1")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let spans = collector.trace(&[CHAT, "plan", "admit", "chat m", "settle"], |span| span.trace == TRACE).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert_one_tree(&spans);
    let server = named(&spans, CHAT);
    assert_eq!((server.parent.as_str(), server.kind, server.status), (CALLER, SpanKind::Server, StatusCode::Unset));
    for (key, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v1/chat/completions")),
        ("http.response.status_code", json!(200)),
        ("url.path", json!("/v1/chat/completions")),
        ("url.scheme", json!("http")),
        ("network.protocol.version", json!("1.1")),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(app.port())),
        ("network.peer.address", json!("127.0.0.1")),
        ("user_agent.original", json!("test/1")),
        ("tollfree.request.id", json!("job-1")),
        ("error.type", Value::Null),
    ] {
        assert_eq!(server.get(key), value, "{key}");
    }
    let plan = named(&spans, "plan");
    assert_eq!((plan.kind, plan.get("tollfree.model.requested")), (SpanKind::Internal, json!("lab/m")));
    for (name, script) in [("admit", "admit"), ("settle", "settle")] {
        let span = named(&spans, name);
        assert_eq!((span.kind, span.get("db.system.name")), (SpanKind::Client, json!("embedded")));
        assert_eq!(
            (span.get("db.operation.name"), span.get("db.stored_procedure.name")),
            (json!("EVALSHA"), json!(script))
        );
    }
    assert_eq!(named(&spans, "admit").get("tollfree.outcome"), "granted");

    let chat = named(&spans, "chat m");
    assert_eq!((chat.kind, chat.status), (SpanKind::Client, StatusCode::Unset));
    let host = upstream.base_url();
    let port: u16 = host.rsplit_once(':').unwrap().1.trim_end_matches("/v1").parse().unwrap();
    for (key, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("lab")),
        ("gen_ai.request.model", json!("m")),
        ("gen_ai.request.max_tokens", json!(64)),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.top_p", json!(0.9)),
        ("gen_ai.request.presence_penalty", json!(0.25)),
        ("gen_ai.request.frequency_penalty", json!(-0.5)),
        ("gen_ai.request.seed", json!(7)),
        ("gen_ai.request.stream", Value::Null),
        ("gen_ai.request.choice.count", Value::Null),
        ("gen_ai.response.id", json!("c1")),
        ("gen_ai.response.model", json!("m")),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gen_ai.usage.input_tokens", json!(7)),
        ("gen_ai.usage.output_tokens", json!(3)),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(port)),
        ("error.type", Value::Null),
    ] {
        assert_eq!(chat.get(key), value, "{key}");
    }
    let resource = collector.resource();
    assert_eq!((&resource["service.name"], &resource["team"]), (&json!("edge"), &json!("blue")));
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_call_to_a_provider_has_protocol_session_and_cached_tokens() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let app = gateway(&collector).lab("lab", &upstream).start().await;
    let mut cached: Value = serde_json::from_str(&crate::support::fake_upstream::answer("hello")).unwrap();
    cached["usage"]["prompt_tokens_details"] = json!({ "cached_tokens": 5 });
    upstream.always(whole(200, &cached.to_string()));
    let message = json!({ "model": "lab/m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let message = app.request("POST", "/v1/messages").json(&message).header("x-claude-code-session-id", "c-1");
    let response = json!({ "model": "lab/m", "input": "hi", "prompt_cache_key": "k-1" });
    let response = app.request("POST", "/v1/responses").json(&response);
    for (call, route, protocol, session) in [
        (message, "POST /v1/messages", "messages", json!("c-1")),
        (response, "POST /v1/responses", "responses", json!("k-1")),
        (app.chat_call(&hi("lab/m")), CHAT, "chat", Value::Null),
    ] {
        assert_eq!(Answer::of(call).await.status, 200);
        let spans = collector.trace(&[route, "chat m"], |_| true).await;
        let span = named(&spans, "chat m");
        assert_eq!(span.get("tollfree.protocol"), protocol);
        assert_eq!(span.get("gen_ai.conversation.id"), session, "{protocol}");
        assert_eq!(span.get("gen_ai.usage.cache_read.input_tokens"), json!(5), "{protocol}");
    }
}

#[tokio::test]
async fn grpc_carries_the_same_with_its_headers() {
    let (collector, upstream) = (Collector::grpc().await, FakeUpstream::start().await);
    let setup = gateway(&collector).lab("lab", &upstream);
    let app = setup.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc,x-scope=team").start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let spans = collector.trace(&[CHAT, "plan", "admit", "chat m", "settle"], |_| true).await;
    assert_one_tree(&spans);
    assert_eq!(named(&spans, CHAT).parent, "");
    let headers = collector.headers();
    assert!(headers.iter().all(|h| h["authorization"] == "Basic abc" && h["x-scope"] == "team"), "{headers:?}");
    collector.metric("gen_ai.client.operation.duration", |_| true).await;
    collector.line("POST /v1/chat/completions: 200").await;
}

#[tokio::test]
async fn every_attempt_has_a_span_with_its_error() {
    let collector = Collector::http().await;
    let (broken, good) = (FakeUpstream::start().await, FakeUpstream::start().await);
    broken.always(whole(500, r#"{"error":{"message":"tea pot for: hi there my-prompt"}}"#));
    let setup = gateway(&collector).played("gemini", &broken).played("groq", &good);
    let members = r#"["gemini/gemini-3.1-flash-lite", "groq/openai/gpt-oss-120b"]"#;
    let app = setup.file(&format!("[models.two]\nmembers = {members}\nstrategy = \"listed\"\n")).start().await;
    let answer = app.chat("two").await;
    assert_eq!(answer.provider(), "groq", "{}", answer.text());

    let wanted = [CHAT, "admit", "chat gemini-3.1-flash-lite", "settle", "admit", "chat openai/gpt-oss-120b", "settle"];
    let spans = collector.trace(&wanted, |_| true).await;
    assert_one_tree(&spans);
    let (failed, answered) = (named(&spans, wanted[2]), named(&spans, wanted[5]));
    assert_eq!((failed.get("gen_ai.provider.name"), failed.status), (json!("gcp.gemini"), StatusCode::Error));
    assert_eq!((failed.get("error.type"), failed.get("http.response.status_code")), (json!("500"), json!(500)));
    assert_eq!((answered.get("gen_ai.provider.name"), answered.status), (json!("groq"), StatusCode::Unset));
    assert!(answered.start >= failed.end);
    assert!(!collector.has_received("tea pot"), "a provider's message may contain the prompt");
}

#[tokio::test]
async fn a_refusal_is_traced_with_its_reasons() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let limits = "[providers.lab]\nlimits = { rpm = 1 }\n";
    let url = upstream.base_url();
    let file = limits.replace("\nlimits", &format!("\nbase_url = \"{url}\"\nlimits")) + "[providers.lab.models.m]\n";
    let app = gateway(&collector).env("TOLLFREE__QUEUE__MAX_WAIT_MS", 0).file(&file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    assert_eq!(app.chat("lab/m").await.status, 429);
    let refused = |span: &SeenSpan| span.get("http.response.status_code") == 429;
    let spans = collector.trace(&[CHAT, "plan", "admit"], refused).await;
    assert_one_tree(&spans);
    // A 4xx response is not an error of the server span.
    assert_eq!((named(&spans, CHAT).status, named(&spans, CHAT).get("error.type")), (StatusCode::Unset, Value::Null));
    let admit = named(&spans, "admit");
    assert_eq!((admit.get("tollfree.outcome"), admit.status), (json!("refused"), StatusCode::Unset));
    assert_eq!(
        (admit.get("tollfree.refused_by"), admit.get("tollfree.refused")),
        (json!("budget"), json!(["lab/m;rpm"]))
    );
    assert!(!spans.iter().any(|span| span.name.starts_with("chat ")));
}

#[tokio::test]
async fn a_wait_in_the_queue_has_a_span() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let url = upstream.base_url();
    let file = format!("[providers.lab]\nbase_url = \"{url}\"\nlimits = {{ rps = 1 }}\n[providers.lab.models.m]\n");
    let app = gateway(&collector).env("TOLLFREE__QUEUE__MAX_WAIT_MS", 10_000).file(&file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let waited = Answer::of(app.chat_call(&hi("lab/m")).header("x-request-id", "patient")).await;
    assert_eq!(waited.status, 200, "{}", waited.text());
    let patient = |span: &SeenSpan| span.get("tollfree.request.id") == "patient";
    let spans = collector.trace(&[CHAT, "plan", "admit", "wait", "admit", "chat m", "settle"], patient).await;
    assert_one_tree(&spans);
    let wait = named(&spans, "wait");
    assert_eq!((wait.kind, wait.get("tollfree.outcome")), (SpanKind::Internal, json!("granted")));
    let reported: u64 = waited.header("x-tollfree-waited-ms").unwrap().parse().unwrap();
    assert!(
        wait.took >= Duration::from_millis(reported) && wait.took < Duration::from_millis(reported + 100),
        "{wait:?} of {reported}"
    );
    let mut outcomes: Vec<_> = spans.iter().filter(|s| s.name == "admit").map(|s| s.get("tollfree.outcome")).collect();
    outcomes.dedup();
    assert!(outcomes.contains(&json!("waits")) && outcomes.contains(&json!("granted")), "{outcomes:?}");
    let text = app.get("/metrics").await.text();
    assert!(text.contains("tollfree_wait_seconds_count{outcome=\"granted\"} 1\n"), "{text}");
    assert!(text.contains("\ntollfree_requests_waiting 0\n"), "{text}");
}

#[tokio::test]
async fn an_unknown_model_and_a_dead_provider_are_errors_of_different_types() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    upstream.always(vec![Step::Reset]);
    let app = gateway(&collector).lab("lab", &upstream).start().await;
    assert_eq!(app.chat("nobody").await.status, 404);
    assert_eq!(app.chat("lab/m").await.status, 502);
    let unknown = collector.trace(&[CHAT, "plan"], |s| s.get("http.response.status_code") == 404).await;
    assert_eq!(named(&unknown, "plan").get("error.type"), "model_not_found");
    let dead = collector.trace(&[CHAT, "chat m"], |s| s.get("http.response.status_code") == 502).await;
    let server = named(&dead, CHAT);
    assert_eq!((server.status, server.get("error.type")), (StatusCode::Error, json!("upstream_error")));
    assert_eq!(named(&dead, "chat m").get("error.type"), "reset");
}

#[tokio::test]
async fn a_stream_is_traced_to_its_last_byte() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let pause = Duration::from_millis(400);
    let mut script = vec![stream_head(), Step::Bytes(content("Once").into()), Step::Pause(pause)];
    let usage = r#"data: {"id":"c1","model":"m-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
    script.extend([stop(), format!("{usage}\n\n"), DONE.to_owned()].map(|piece| Step::Bytes(piece.into())));
    upstream.always(script);
    let app = gateway(&collector).lab("lab", &upstream).start().await;
    let finished = app.stream("lab/m").await.rest().await;
    assert!(finished.is_done());
    let spans = collector.trace(&[CHAT, "chat m", "settle"], |_| true).await;
    assert_one_tree(&spans);
    let (server, chat) = (named(&spans, CHAT), named(&spans, "chat m"));
    assert!(chat.took >= pause && server.took >= pause, "{:?} {:?}", chat.took, server.took);
    assert_eq!(chat.get("gen_ai.request.stream"), true);
    assert_eq!(chat.get("gen_ai.response.finish_reasons"), json!(["stop"]));
    assert_eq!((chat.get("gen_ai.usage.input_tokens"), chat.get("gen_ai.usage.output_tokens")), (json!(5), json!(2)));
    let first = chat.get("gen_ai.response.time_to_first_chunk").as_f64().unwrap();
    assert!(first < chat.took.as_secs_f64() - 0.3, "{first} of {:?}", chat.took);
    assert!(named(&spans, "settle").start >= chat.start);
}

#[tokio::test]
async fn a_disconnected_caller_is_traced_as_cancelled() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    upstream.then(vec![stream_head(), Step::Bytes(content("Once").into()), Step::Hold]);
    let app = gateway(&collector).lab("lab", &upstream).start().await;
    let mut answer = app.stream("lab/m").await;
    answer.next().await.unwrap().unwrap();
    drop(answer);
    let spans = collector.trace(&[CHAT, "chat m", "settle"], |_| true).await;
    assert_one_tree(&spans);
    let (server, chat) = (named(&spans, CHAT), named(&spans, "chat m"));
    assert_eq!((server.get("http.response.status_code"), server.get("error.type")), (json!(200), json!("client_left")));
    assert_eq!(server.status, StatusCode::Unset, "not an error of the server");
    assert_eq!((chat.get("error.type"), chat.status), (json!("client_left"), StatusCode::Error));

    // Before the first content there is no status to report.
    upstream.then(vec![Step::Hold]);
    let before = upstream.seen().len();
    let call = app.chat_call(&hi("lab/m")).timeout(Duration::from_millis(300));
    assert!(call.send().await.is_err());
    eventually(Duration::from_secs(5), "it was sent", async || (upstream.seen().len() > before).then_some(())).await;
    let spans = collector.trace(&[CHAT, "chat m", "settle"], |s| s.get("http.response.status_code").is_null()).await;
    assert_one_tree(&spans);
    assert_eq!(named(&spans, CHAT).get("error.type"), "client_left");
    assert_eq!(named(&spans, "chat m").get("error.type"), "client_left");
}

#[tokio::test]
async fn the_sampler_and_the_caller_decide_about_sampling() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let app = gateway(&collector).lab("lab", &upstream).start().await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let call = app.chat_call(&hi("lab/m")).header("traceparent", unsampled);
    assert_eq!(Answer::of(call).await.status, 200);
    assert_eq!(app.chat("lab/m").await.status, 200);
    collector.trace(&[CHAT, "settle"], |_| true).await;
    assert!(collector.spans().iter().all(|span| span.trace != TRACE), "the caller did not sample");

    let off = Collector::http().await;
    let app = gateway(&off).lab("lab", &upstream).env("OTEL_TRACES_SAMPLER", "always_off").start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    off.line("POST /v1/chat/completions: 200").await;
    off.metric("http.server.request.duration", |_| true).await;
    assert!(off.spans().is_empty());
}

#[tokio::test]
async fn no_prompt_no_reply_and_no_key_is_in_anything_exported() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let setup = gateway(&collector).played("groq", &upstream).env("TOLLFREE_ADMIN_KEY", "adm-hunter2-key");
    let setup =
        setup.env("TOLLFREE_API_KEY", "api-hunter2-key").env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=otel-hunter2");
    let app = setup.env("LOG_LEVEL", "trace").env("TOLLFREE_AUTH", "required").start().await;
    let body = json!({
        "model": "groq/openai/gpt-oss-120b", "user": "the-user-hunter2", "stop": ["stop-hunter2"],
        "messages": [{ "role": "user", "content": "prompt-hunter2" }],
    });
    upstream.then(whole(400, r#"{"error":{"message":"bad: prompt-hunter2 key-of-groq"}}"#));
    upstream.then(stream([content("reply-hunter2"), stop(), DONE.to_owned()]));
    upstream.then(vec![stream_head(), Step::Bytes(content("reply-hunter2").into()), Step::Reset]);
    let key = |call: reqwest::RequestBuilder| call.header("authorization", "Bearer api-hunter2-key");
    for stream in [false, true, true] {
        let mut body = body.clone();
        body["stream"] = stream.into();
        let call = app.request("POST", "/v1/chat/completions?key=query-hunter2").json(&body);
        let _ = Answer::try_of(key(call)).await;
    }
    let _ = Answer::of(app.chat_call(&body).header("authorization", "Bearer sk-tf-wrong-hunter2")).await;
    for _ in 0..3 {
        collector.trace(&[CHAT], |_| true).await;
    }
    collector.line("401").await;
    collector.metric("gen_ai.client.operation.duration", |_| true).await;
    app.settled().await;
    assert!(collector.has_received("gpt-oss-120b"), "exports were received");
    for secret in ["hunter2", "key-of-groq"] {
        assert!(!collector.has_received(secret), "{secret} was exported");
        assert!(!app.log().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn pending_telemetry_is_flushed_when_the_process_ends() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    let setup = gateway(&collector).lab("lab", &upstream).env("OTEL_BSP_SCHEDULE_DELAY", 600_000);
    let setup = setup.env("OTEL_BLRP_SCHEDULE_DELAY", 600_000).env("OTEL_METRIC_EXPORT_INTERVAL", 600_000);
    let mut app = setup.env("TOLLFREE__SHUTDOWN__GRACE_MS", 0).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    assert_eq!(app.process().terminate(Duration::from_secs(20)).await, 0);
    let spans = collector.trace(&[CHAT, "plan", "admit", "chat m", "settle"], |_| true).await;
    assert_one_tree(&spans);
    collector.line("POST /v1/chat/completions: 200").await;
    collector.metric("http.server.request.duration", |_| true).await;
}
