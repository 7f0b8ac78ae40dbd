//! Attempts at a scripted server: committed responses and faults.

use super::*;
use crate::{
    domain::{Health, Usage},
    plan,
    protocol::chat,
    upstream::{
        StreamFault, TokenUsage, UpstreamSettings,
        test_support::{Say, Scripted, candidate_at, recorded, says, serve},
    },
};

const CHUNK: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ROLE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const FINISH: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn upstream() -> Upstream {
    let settings = UpstreamSettings { connect_ms: 500, first_token_ms: 400, stream_idle_ms: 300, proxy: None };
    Upstream::new(settings, 1, crate::memory::Memory::new(None)).unwrap()
}

fn request(stream: bool) -> ChatRequest {
    let body = format!(r#"{{"model":"free","stream":{stream},"messages":[{{"role":"user","content":"x"}}]}}"#);
    chat::decode(body.into()).unwrap()
}

async fn attempt_at(provider: &str, server: &Scripted, stream: bool) -> Result<Reply, Fault> {
    upstream().attempt(&candidate_at(provider, &server.base_url), &request(stream)).await
}

async fn attempt(provider: &str, script: Vec<Say>, stream: bool) -> Result<Reply, Fault> {
    attempt_at(provider, &serve(script).await, stream).await
}

fn event_stream(parts: &[&str]) -> Vec<Say> {
    says(200, "text/event-stream", parts.concat().as_bytes())
}

/// Everything from a stream: its bytes, the last usage, and the fault at its end.
async fn drained(reply: Reply) -> (String, Option<TokenUsage>, Option<StreamFault>) {
    let ReplyBody::Stream(mut events) = reply.body else { panic!("not a stream") };
    let (mut text, mut usage) = (String::new(), None);
    loop {
        match events.next().await {
            Some(Ok(event)) => {
                text.push_str(std::str::from_utf8(&event.bytes).unwrap());
                usage = event.facts.usage.or(usage);
            }
            Some(Err(fault)) => return (text, usage, Some(fault)),
            None => return (text, usage, None),
        }
    }
}

async fn fault_of(provider: &str, script: Vec<Say>, stream: bool) -> Fault {
    attempt(provider, script, stream).await.expect_err("this must fail")
}

#[tokio::test]
async fn every_recorded_stream_is_committed_and_read_to_its_end() {
    let usage = |input, output| Some(TokenUsage { input, output, total: input + output, cached: 0 });
    for (case, used, broken) in [
        ("groq.stream", usage(73, 50), None),
        ("groq.stream-usage", usage(73, 50), None),
        ("groq.stream-reasoning", usage(73, 50), None),
        ("groq.stream-tools", usage(73, 50), None),
        ("groq.stream-error", None, Some(("stream_error", Health::ProviderFailed))),
        ("gemini.stream", None, None),
        ("gemini.stream-usage", usage(3, 38), None),
        ("gemini.stream-tools", None, None),
        ("cerebras.stream", usage(73, 50), None),
        ("cerebras.stream-tools", usage(73, 50), None),
        ("cerebras.stream-error", None, Some(("stream_error", Health::ProviderFailed))),
        ("mistral.stream", usage(73, 50), None),
        ("mistral.stream-tools", usage(73, 50), None),
        ("mistral.stream-thinking", usage(73, 50), None),
        ("ollama.stream", None, None),
        ("ollama.stream-usage", usage(26, 12), None),
        ("ollama.stream-tools", None, None),
        ("ollama.stream-error", None, Some(("stream_error", Health::ProviderFailed))),
        ("openrouter.stream", usage(73, 50), None),
        ("openrouter.stream-error", None, Some(("stream_error", Health::ModelFailed))),
        ("custom.stream-crlf", None, None),
        ("custom.stream-no-done", None, None),
        ("custom.stream-cut", None, Some(("reset", Health::ProviderFailed))),
        ("custom.success-json-as-stream", usage(1, 1), None),
    ] {
        let recorded_case = recorded().into_iter().find(|r| r.case == case).unwrap();
        let kind = recorded_case.headers["content-type"].to_str().unwrap().to_owned();
        let reply = attempt(&recorded_case.provider, says(200, &kind, &recorded_case.body), true).await;
        let reply = reply.unwrap_or_else(|fault| panic!("{case}: {fault:?}"));
        let (text, found, fault) = drained(reply).await;
        assert_eq!(found, used, "{case}");
        let fault = fault.map(|f| (f.label, f.health));
        assert_eq!(fault, broken.map(|(label, health)| (label.to_owned(), health)), "{case}");
        for line in text.lines().filter(|l| l.starts_with("data:")) {
            let data = line["data:".len()..].trim();
            let read = serde_json::from_str::<serde_json::Value>(data).is_ok();
            assert!(data == "[DONE]" || read || case == "custom.stream-crlf", "{case}: {line}");
        }
    }
}

#[tokio::test]
async fn a_plain_stream_passes_byte_for_byte() {
    for case in ["ollama.stream", "ollama.stream-usage", "ollama.stream-tools"] {
        let recorded_case = recorded().into_iter().find(|r| r.case == case).unwrap();
        let reply =
            attempt(&recorded_case.provider, says(200, "text/event-stream", &recorded_case.body), true).await.unwrap();
        assert_eq!(drained(reply).await.0.as_bytes(), &recorded_case.body[..], "{case}");
    }
}

#[tokio::test]
async fn every_recorded_whole_answer_is_read() {
    for (case, total, reasons) in [
        ("groq.success", 123, "stop"),
        ("groq.success-tools", 123, "tool_calls"),
        ("gemini.success", 41, "stop"),
        ("gemini.success-tools", 151, "tool_calls"),
        ("gemini.success-empty", 76, "length"),
        ("cerebras.success", 123, "stop"),
        ("mistral.success", 123, "stop"),
        ("mistral.success-tools", 123, "tool_calls"),
        ("mistral.success-thinking", 123, "stop"),
        ("ollama.success", 38, "stop"),
        ("ollama.success-tools", 38, "tool_calls"),
        ("openrouter.success", 123, "stop"),
        ("cloudflare.success", 123, "stop"),
        ("cohere.success", 14, "stop"),
    ] {
        let recorded_case = recorded().into_iter().find(|r| r.case == case).unwrap();
        let reply = attempt(&recorded_case.provider, says(200, "application/json", &recorded_case.body), false).await;
        let ReplyBody::Whole { body, usage, finish_reasons } = reply.unwrap().body else { panic!("{case}") };
        assert_eq!((usage.unwrap().total, finish_reasons.join(",").as_str()), (total, reasons), "{case}");
        if case == "mistral.success-thinking" {
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let message = &value["choices"][0]["message"];
            assert_eq!(
                (&message["content"], &message["reasoning_content"]),
                (&"Hello!".into(), &"The user greets.".into())
            );
        } else if ["cerebras.success", "gemini.success", "ollama.success", "ollama.success-tools"].contains(&case) {
            assert_eq!(body, recorded_case.body, "{case}");
        }
    }
}

#[tokio::test]
async fn the_request_carries_the_edited_body_and_the_key() {
    let mut server = serve(says(200, "application/json", b"{\"choices\":[{\"message\":{\"content\":\"a\"}}]}")).await;
    attempt_at("groq", &server, false).await.unwrap();
    let (received, _) = server.requests.recv().await.unwrap();
    assert!(received.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{received}");
    assert!(received.contains("authorization: Bearer test-key-0123\r\n"), "{received}");
    assert!(received.contains(&format!("user-agent: tollfree/{}\r\n", env!("CARGO_PKG_VERSION"))), "{received}");
    assert!(received.contains("{\"model\":\"openai/gpt-oss-120b\",\"stream\":false,"), "{received}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_fault_behind_an_early_200_too() {
    let error = "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    for (label, script, stream) in [
        ("empty", event_stream(&[ROLE]), true),
        ("empty", says(200, "text/event-stream", b""), true),
        ("empty", says(200, "application/json", b" \n"), false),
        ("empty", says(200, "application/json", b"{}"), false),
        ("malformed", says(200, "application/json", b"{\"choices\":[{"), false),
        ("malformed", says(200, "text/html", b"<html>hello</html>"), true),
        ("malformed", event_stream(&[ROLE, "data: not json\n\n"]), true),
        ("malformed", says(301, "text/plain", b"moved"), false),
        ("503", event_stream(&[error]), true),
        ("503", event_stream(&[ROLE, error]), true),
        ("500", event_stream(&[ROLE, "{\"error\":\"runner terminated\"}\n"]), true),
        ("500", says(200, "application/json", b"{\"error\":{\"message\":\"runner terminated\"}}"), false),
        ("500", event_stream(&["event: error\ndata: {\"message\":\"no\"}\n\n"]), true),
        ("502", says(502, "text/html", b"<title>Bad</title>"), false),
    ] {
        let described = format!("{script:?}");
        let fault = fault_of("custom", script, stream).await;
        assert_eq!((fault.label.as_str(), fault.kind), (label, FaultKind::Broken), "{described}");
        assert_eq!(
            (fault.outcome.health, fault.outcome.usage),
            (Health::ProviderFailed, Usage::UNKNOWN),
            "{described}"
        );
    }
}

#[tokio::test]
async fn a_response_without_content_is_empty_unless_its_finish_reason_explains_it() {
    for (reason, is_empty) in [
        ("stop", true),
        ("insufficient_system_resource", true),
        ("MALFORMED_FUNCTION_CALL", true),
        ("length", false),
        ("content_filter", false),
        ("SAFETY", false),
    ] {
        let ended = FINISH.replace("stop", reason);
        let reply = attempt("custom", event_stream(&[ROLE, &ended, DONE]), true).await.unwrap();
        assert_eq!(reply.is_empty, is_empty, "{reason}");
        assert!(drained(reply).await.0.ends_with(DONE));
        let whole = format!("{{\"choices\":[{{\"message\":{{}},\"finish_reason\":\"{reason}\"}}]}}");
        let reply = attempt("custom", says(200, "application/json", whole.as_bytes()), false).await.unwrap();
        assert_eq!(reply.is_empty, is_empty, "{reason}");
    }
    let reply = attempt("custom", event_stream(&[ROLE, DONE]), true).await.unwrap();
    let fault = reply.into_empty_fault();
    assert_eq!((fault.label.as_str(), fault.outcome.health), ("empty", Health::Unknown));
    assert!(fault.outcome.cooldown.is_none());
}

#[tokio::test]
async fn the_other_form_than_the_requested_one_is_accepted() {
    let reply = attempt("custom", event_stream(&[": hello\n\n", ROLE, CHUNK, FINISH, DONE]), false).await.unwrap();
    let ReplyBody::Whole { body, finish_reasons, .. } = reply.body else { panic!("a stream") };
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&value["object"], &value["choices"][0]["message"]["content"]),
        (&"chat.completion".into(), &"Hi".into())
    );
    assert_eq!(finish_reasons, ["stop"]);

    let whole = r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let marked = format!("\u{feff}{whole}");
    let reply = attempt("custom", says(200, "application/json", marked.as_bytes()), true).await.unwrap();
    let (text, usage, fault) = drained(reply).await;
    assert!(fault.is_none() && text.ends_with(DONE) && usage.is_some_and(|usage| usage.total == 2), "{text}");
    let chunks: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!((chunks.len(), &chunks[0]["choices"][0]["delta"]["content"]), (2, &"Hi".into()), "{text}");
    assert!(chunks.iter().all(|c| c["id"] == "x" && c["object"] == "chat.completion.chunk" && c["choices"].is_array()));
}

#[tokio::test]
async fn a_stream_is_framed_as_openais_whatever_its_framing() {
    for script in [
        [ROLE, CHUNK, FINISH, DONE].concat().replace("data: ", "data:"),
        [ROLE, CHUNK, FINISH, DONE].concat().replace('\n', "\r\n"),
        [ROLE, CHUNK, FINISH, DONE].concat().replace("data: ", "id: 1\nevent: message\nretry: 3000\ndata: data: "),
        [
            ": hi\n\n",
            "data:   \n\n",
            ROLE,
            "data: : keepalive\n\n",
            CHUNK,
            "data: null\n\n",
            "data: {}\n\n",
            FINISH,
            DONE,
        ]
        .concat(),
    ] {
        let (text, _, fault) = drained(attempt("custom", event_stream(&[&script]), true).await.unwrap()).await;
        assert!(fault.is_none());
        assert_eq!(text, [ROLE, CHUNK, FINISH, DONE].concat(), "{script}");
    }
}

#[tokio::test]
async fn a_rate_limit_inside_a_200_is_a_rate_limit() {
    let error = "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n";
    let fault = fault_of("custom", event_stream(&[ROLE, error]), true).await;
    assert_eq!((fault.kind, fault.label.as_str(), fault.status), (FaultKind::RateLimited, "429", Some(429)));
}

#[tokio::test]
async fn an_error_at_the_top_of_a_200_is_the_providers_with_its_message() {
    for (error, status) in [
        (r#"{"object":"error","message":"the engine is out of order","code":503}"#, Some(503)),
        (r#"{"code":500,"msg":"the engine is out of order"}"#, Some(500)),
        (r#"{"success":false,"error_code":"E7","error_msg":"the engine is out of order"}"#, Some(500)),
        (r#"{"object":"error","message":"the engine is out of order","type":"BadRequestError","code":400}"#, Some(400)),
    ] {
        let event = format!("data: {error}\n\n");
        for (script, stream) in [
            (says(200, "application/json", error.as_bytes()), false),
            (says(200, "application/json", error.as_bytes()), true),
            (event_stream(&[ROLE, &event]), true),
        ] {
            let fault = fault_of("custom", script, stream).await;
            assert_eq!((fault.status, fault.message.as_str()), (status, "the engine is out of order"), "{error}");
        }
    }
    // Events beside the answer that are no errors.
    let ping = "data: {\"type\":\"ping\",\"message\":\"hello\",\"code\":0}\n\n";
    let (text, _, fault) =
        drained(attempt("custom", event_stream(&[ROLE, ping, CHUNK, FINISH, DONE]), true).await.unwrap()).await;
    assert!(fault.is_none() && text == [ROLE, CHUNK, FINISH, DONE].concat(), "{text}");
}

#[tokio::test]
async fn a_provider_that_is_slow_to_begin_may_pause_as_long() {
    let mut script = event_stream(&[ROLE, CHUNK]);
    script.push(Say::Pause(Duration::from_millis(600)));
    script.push(Say::Bytes([FINISH, DONE].concat().into()));
    let server = serve(script).await;
    let slow = plan::test_support::candidate("slow/m")
        .provider(|p| (p.base_url, p.first_token_timeout_ms) = (server.base_url.clone(), Some(30_000)))
        .build();
    let reply = upstream().attempt(&slow, &request(true)).await.unwrap();
    let (text, _, fault) = drained(reply).await;
    assert!(fault.is_none(), "{fault:?}");
    assert_eq!(text, [ROLE, CHUNK, FINISH, DONE].concat());
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let candidate = candidate_at("custom", "http://127.0.0.1:1/v1");
    let fault = upstream().attempt(&candidate, &request(true)).await.unwrap_err();
    assert_eq!((fault.label.as_str(), fault.outcome.usage), ("connect", Usage::NOT_SENT));
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_reset() {
    let fault = fault_of("custom", vec![Say::Reset], true).await;
    assert_eq!((fault.label.as_str(), fault.outcome.usage), ("reset", Usage::UNKNOWN));
    let head = Say::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices".to_vec());
    assert_eq!(fault_of("custom", vec![head, Say::Reset], false).await.label, "reset");
}

#[tokio::test]
async fn no_content_in_time_is_a_timeout() {
    let slow = Say::Pause(Duration::from_secs(5));
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    let awake = |text: &str| vec![Say::Pause(Duration::from_millis(100)), Say::Bytes(text.as_bytes().to_vec())];
    for (script, stream) in [
        (vec![slow.clone()], true),
        (vec![Say::Bytes(head.clone()), slow.clone()], true),
        ([vec![Say::Bytes(head.clone())], awake(ROLE), awake(": hello\n\n"), vec![slow.clone()]].concat(), true),
        ([vec![Say::Bytes(head)], awake("\n"), awake(" "), vec![slow]].concat(), false),
    ] {
        let started = Instant::now();
        let fault = fault_of("custom", script, stream).await;
        assert_eq!((fault.label.as_str(), fault.kind), ("timeout", FaultKind::TimedOut));
        assert!((350..1_500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_stream_that_stalls_or_is_cut_is_broken() {
    let mut script = event_stream(&[ROLE, CHUNK]);
    script.push(Say::Pause(Duration::from_secs(5)));
    let (text, _, fault) = drained(attempt("custom", script, true).await.unwrap()).await;
    let fault = fault.unwrap();
    assert_eq!((text, fault.label.as_str(), fault.health), ([ROLE, CHUNK].concat(), "timeout", Health::ProviderFailed));

    for end in [vec![Say::Reset], vec![]] {
        let script = [event_stream(&[CHUNK]), vec![Say::Pause(Duration::from_millis(50))], end].concat();
        let (_, _, fault) = drained(attempt("custom", script, true).await.unwrap()).await;
        assert_eq!(fault.unwrap().label, "reset");
    }
}

#[tokio::test]
async fn an_end_after_the_finish_reason_is_complete_with_or_without_done() {
    for tail in ["", "data: [DONE]\n\n"] {
        let (text, _, fault) =
            drained(attempt("custom", event_stream(&[ROLE, CHUNK, FINISH, tail]), true).await.unwrap()).await;
        assert!(fault.is_none());
        assert_eq!(text, [ROLE, CHUNK, FINISH, tail].concat());
    }
    let mut script = event_stream(&[CHUNK, FINISH]);
    script.extend([Say::Pause(Duration::from_millis(50)), Say::Reset]);
    assert!(drained(attempt("custom", script, true).await.unwrap()).await.2.is_none());
    let done = [ROLE, CHUNK, "data: [DONE]\n\n"];
    let (text, _, fault) = drained(attempt("custom", event_stream(&done), true).await.unwrap()).await;
    assert!(fault.is_none() && text.contains("\"finish_reason\":\"stop\"") && text.ends_with(DONE), "{text}");
    let cut = CHUNK.replace("}}]", "},\"finish_reason\":\"\"}]");
    let (text, _, fault) = drained(attempt("custom", event_stream(&[ROLE, &cut]), true).await.unwrap()).await;
    assert_eq!(fault.map(|fault| fault.label), Some("reset".to_owned()), "{text}");
}

#[tokio::test]
async fn dropping_a_reply_cancels_the_call() {
    let mut script = event_stream(&[CHUNK]);
    script.push(Say::Pause(Duration::from_secs(10)));
    let mut server = serve(script).await;
    let reply = attempt_at("custom", &server, true).await.unwrap();
    let (_, left) = server.requests.recv().await.unwrap();
    drop(reply);
    tokio::time::timeout(Duration::from_millis(100), left).await.expect("the call was not cancelled").unwrap();

    let mut server = serve(vec![Say::Pause(Duration::from_secs(10))]).await;
    let upstream = upstream();
    let candidate = candidate_at("custom", &server.base_url);
    let asking = request(false);
    let call = tokio::time::timeout(Duration::from_millis(100), upstream.attempt(&candidate, &asking));
    assert!(call.await.is_err());
    let (_, left) = server.requests.recv().await.unwrap();
    tokio::time::timeout(Duration::from_millis(100), left).await.expect("the call was not cancelled").unwrap();
}

#[tokio::test]
async fn a_model_that_refuses_a_schema_keyword_gets_plain_schemas_afterwards() {
    let refusal = b"[{\"error\":{\"code\":400,\"message\":\"Unknown name \\\"additionalProperties\\\"\",\"status\":\"INVALID_ARGUMENT\"}}]";
    let mut server = serve(says(400, "application/json", refusal)).await;
    let candidate = candidate_at("gemini", &server.base_url);
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","additionalProperties":false,"properties":{"default":{"type":"string"}}}}}]}"#;
    let (upstream, request) = (upstream(), chat::decode(body.into()).unwrap());
    for expected in [true, false] {
        let fault = upstream.attempt(&candidate, &request).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected);
        let (received, _) = server.requests.recv().await.unwrap();
        assert_eq!(received.contains("additionalProperties"), expected, "{received}");
        assert!(received.contains("\"default\":{"), "a property's name is no keyword: {received}");
    }
}

#[tokio::test]
async fn a_compressed_response_is_read_although_identity_was_requested() {
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let encoded = |status: u16, encoding: &str, body: &[u8]| {
        let kind = format!("application/json\r\ncontent-encoding: {encoding}");
        says(status, &kind, body)
    };
    let whole = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
    let mut server = serve(encoded(200, "gzip", &gzip(whole))).await;
    let reply = attempt_at("custom", &server, false).await.unwrap();
    assert!(matches!(reply.body, ReplyBody::Whole { body, .. } if body.starts_with(b"{\"id\":\"c\"")));
    let (sent, _) = server.requests.recv().await.unwrap();
    assert!(sent.contains("accept-encoding: identity\r\n"), "{sent}");

    let events = gzip(&[ROLE, CHUNK, FINISH, DONE].concat());
    let reply = attempt("custom", encoded(200, "gzip", &events), true).await.unwrap();
    assert_eq!(drained(reply).await.0, [ROLE, CHUNK, FINISH, DONE].concat());

    let refused = encoded(400, "gzip", &gzip(r#"{"error":{"message":"maximum context length is 10"}}"#));
    assert_eq!(fault_of("custom", refused, false).await.label, "context");
    let fault = fault_of("custom", encoded(200, "br", b"\x0b\x02\x80"), false).await;
    assert_eq!((fault.label.as_str(), fault.message.contains("`br`")), ("malformed", true), "{}", fault.message);
}

#[tokio::test]
async fn a_response_that_inflates_without_end_is_cut() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, b"{\"id\":\"").unwrap();
    for _ in 0..65 {
        std::io::Write::write_all(&mut encoder, &vec![b'x'; 1 << 20]).unwrap();
    }
    let body = encoder.finish().unwrap();
    let fault = fault_of("custom", says(200, "application/json\r\ncontent-encoding: gzip", &body), false).await;
    assert!(fault.message.contains("larger than"), "{}", fault.message);
}

#[tokio::test]
async fn a_whole_response_holds_its_memory_edited_or_not() {
    let text = "x".repeat(100_000);
    for start in [r#""index":0,"#, ""] {
        let choice =
            format!(r#"{{{start}"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}"#);
        let whole = format!(r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{choice}]}}"#);
        let (upstream, server) = (upstream(), serve(says(200, "application/json", whole.as_bytes())).await);
        let reply = upstream.attempt(&candidate_at("groq", &server.base_url), &request(false)).await.unwrap();
        let ReplyBody::Whole { body, .. } = reply.body else { panic!("not whole") };
        assert!(upstream.memory().reserved() >= 100_000, "{} for {}", upstream.memory().reserved(), body.len());
        drop(body);
        assert_eq!(upstream.memory().reserved(), 0);
    }
}

#[tokio::test]
async fn lines_of_one_event_are_events_of_their_own_up_to_a_bound() {
    let joined = |lines: usize| {
        let line = CHUNK.trim_end().to_owned() + "\n";
        format!("{}{}\n{FINISH}{DONE}", CHUNK, line.repeat(lines))
    };
    let reply = attempt("groq", event_stream(&[&joined(1_000)]), true).await.unwrap();
    let (text, _, fault) = drained(reply).await;
    assert_eq!((text.matches("\"Hi\"").count(), fault.is_none()), (1_001, true));
    let reply = attempt("groq", event_stream(&[&joined(1_001)]), true).await.unwrap();
    let (text, _, fault) = drained(reply).await;
    assert_eq!((text.matches("\"Hi\"").count(), fault.map(|fault| fault.label)), (1, Some("malformed".to_owned())));
}

/// The events that wait behind the first are held as long as any of them is.
#[tokio::test]
async fn events_that_were_one_count_in_memory() {
    let line = CHUNK.trim_end().replace("Hi", &"x".repeat(10_000)) + "\n";
    let script = event_stream(&[CHUNK, &line.repeat(100), "\n", FINISH, DONE]);
    let (upstream, server) = (upstream(), serve(script).await);
    let reply = upstream.attempt(&candidate_at("groq", &server.base_url), &request(true)).await.unwrap();
    let ReplyBody::Stream(mut events) = reply.body else { panic!("not a stream") };
    let mut most = 0;
    while let Some(event) = events.next().await {
        event.unwrap();
        most = most.max(upstream.memory().reserved());
    }
    assert!(most >= 1_000_000, "{most}");
}
