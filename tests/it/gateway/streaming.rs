//! Streams: committed at the first content, relayed as they arrive, and always ended properly.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    app::{TestApp, hi},
    eventually,
    fake_upstream::{DONE, FakeUpstream, Script, Step, answer, content, role, stop, stream, stream_head, whole},
    scaled,
};

/// Two unmetered providers, tried in this order by the meta-model `pair`.
async fn pair() -> (TestApp, FakeUpstream, FakeUpstream) {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n[timeouts]\nsilence_ms = 1500\n";
    let app = TestApp::setup().lab("a", &a).lab("b", &b).file(file).start().await;
    (app, a, b)
}

fn hello() -> Script {
    stream([role(), content("hel"), content("lo"), stop(), DONE.into()])
}

#[tokio::test]
async fn a_stream_arrives_unchanged_chunk_by_chunk() {
    let (app, a, _b) = pair().await;
    let mut script = vec![stream_head(), Step::Bytes(role().into()), Step::Bytes(content("one").into())];
    script.extend([Step::Pause(Duration::from_millis(600)), Step::Bytes(content("two").into())]);
    script.extend([Step::Bytes(stop().into()), Step::Bytes(DONE.into())]);
    a.then(script);
    let mut stream = app.stream("pair").await;
    assert_eq!(stream.status, 200);
    assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"));
    let mut moments = Vec::new();
    while let Some(event) = stream.next().await {
        moments.push((stream.start.elapsed(), event.unwrap()));
    }
    let events: Vec<_> = moments.iter().map(|(_, event)| format!("{event}\n\n")).collect();
    assert_eq!(events, [role(), content("one"), content("two"), stop(), DONE.to_owned()], "byte for byte");
    assert!(moments[1].0 < Duration::from_millis(450), "not held back: {:?}", moments[1].0);
    assert!(moments[2].0 >= Duration::from_millis(550));
}

#[tokio::test]
async fn a_failure_after_an_early_200_but_before_content_fails_over() {
    let (app, a, b) = pair().await;
    let failures: Vec<(&str, Script)> = vec![
        ("closed at once", stream([""; 0])),
        ("closed after the role", stream([role()])),
        ("done without content", stream([role(), DONE.to_owned()])),
        (
            "an error event",
            stream([role(), "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n".to_owned()]),
        ),
        (
            "a named error event",
            stream(["event: error\ndata: {\"error\":{\"message\":\"x\",\"status_code\":500}}\n\n"]),
        ),
        ("a bare error", stream(["{\"error\":\"model runner has stopped\"}\n"])),
        ("an error body", whole(200, r#"{"error":{"message":"no","code":500}}"#)),
        ("a reset", vec![stream_head(), Step::Bytes(role().into()), Step::Reset]),
    ];
    for (name, script) in failures {
        a.then(script);
        b.then(hello());
        let finished = app.stream("pair").await.rest().await;
        assert_eq!((finished.status, finished.content().as_str()), (200, "hello"), "{name}: {finished:?}");
        assert_eq!(finished.header("x-tollfree-provider"), Some("b"), "{name}");
        assert!(finished.is_done() && finished.error().is_none(), "{name}: {finished:?}");
        assert!(finished.header("x-tollfree-attempts").unwrap().ends_with("b/m;ok"), "{name}");
        // A success in between keeps the breaker of `a` closed.
        a.then(hello());
        assert_eq!(app.stream("pair").await.rest().await.header("x-tollfree-provider"), Some("a"), "{name}");
    }
}

#[tokio::test]
async fn an_end_without_content_moves_on_unless_its_reason_explains_it() {
    let (app, a, b) = pair().await;
    // Reasoning has used all tokens: this is a response.
    a.then(stream([role(), stop().replace("\"stop\"", "\"length\""), DONE.to_owned()]));
    let finished = app.stream("pair").await.rest().await;
    assert!(finished.is_done() && finished.content().is_empty() && b.seen().is_empty(), "{finished:?}");
    // The model returned nothing.
    for end in [stop(), String::new()] {
        a.then(stream([role(), end, DONE.to_owned()]));
        let finished = app.stream("pair").await.rest().await;
        assert_eq!(finished.header("x-tollfree-attempts"), Some("a/m;empty, b/m;ok"), "{finished:?}");
        a.then(hello());
        let next = app.stream("pair").await.rest().await;
        assert_eq!(next.header("x-tollfree-provider"), Some("a"), "an empty response is no failure of its provider");
    }
    // The last candidate's empty response is delivered as it is.
    a.then(stream([role(), stop(), DONE.to_owned()]));
    b.then(stream([role(), stop(), DONE.to_owned()]));
    let finished = app.stream("pair").await.rest().await;
    assert!(finished.is_done() && finished.content().is_empty() && finished.error().is_none(), "{finished:?}");
    assert_eq!(finished.header("x-tollfree-attempts"), Some("a/m;empty, b/m;ok"));
}

#[tokio::test]
async fn reasoning_and_tool_calls_are_content_too() {
    let (app, a, b) = pair().await;
    let call = r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#;
    for delta in [r#"{"reasoning":"hm"}"#, r#"{"reasoning_content":"hm"}"#, call] {
        let first = crate::support::fake_upstream::chunk(delta, None);
        a.then(stream([role(), first.clone(), stop(), DONE.into()]));
        let finished = app.stream("pair").await.rest().await;
        assert!(finished.events.iter().any(|e| format!("{e}\n\n") == first), "{finished:?}");
        assert!(finished.is_done());
    }
    assert!(b.seen().is_empty());
}

#[tokio::test]
async fn a_missing_done_is_added_and_a_second_one_is_not() {
    let (app, a, _b) = pair().await;
    a.then(stream([role(), content("x"), stop()]));
    let finished = app.stream("pair").await.rest().await;
    assert!(finished.is_done() && !finished.broken, "{finished:?}");
    a.then(stream([role(), content("x"), stop().trim_end().to_owned()]));
    let finished = app.stream("pair").await.rest().await;
    assert!(finished.is_done(), "also where the last blank line is missing: {finished:?}");
    a.then(hello());
    let finished = app.stream("pair").await.rest().await;
    assert_eq!(finished.events.iter().filter(|event| *event == "data: [DONE]").count(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_after_content_ends_in_an_error_event() {
    let (app, a, b) = pair().await;
    let half = content("héé");
    let cut = half.find('é').unwrap() + 1;
    let breaks: Vec<(&str, Script)> = vec![
        ("ended early", stream([role(), content("x")])),
        (
            "reset",
            vec![stream_head(), Step::Bytes(content("x").into()), Step::Pause(Duration::from_millis(100)), Step::Reset],
        ),
        (
            "cut in a character",
            vec![stream_head(), Step::Bytes(content("x").into()), Step::Bytes(half.as_bytes()[..cut].to_vec())],
        ),
        ("an error event", stream([content("x"), "data: {\"error\":{\"message\":\"lost it\"}}\n\n".to_owned()])),
        ("silent", vec![stream_head(), Step::Bytes(content("x").into()), Step::Hold]),
    ];
    for (name, script) in breaks {
        a.then(script);
        let finished = app.stream("pair").await.rest().await;
        assert_eq!((finished.status, finished.content().as_str()), (200, "x"), "{name}");
        let error = finished.error().unwrap_or_else(|| panic!("{name}: no error event in {finished:?}"));
        assert_eq!(error["type"], "server_error", "{name}");
        assert!(error["message"].as_str().unwrap().contains('a'), "{name}: the provider is named");
        assert!(!finished.is_done() && !finished.broken, "{name}: {finished:?}");
        a.then(hello());
        assert!(app.stream("pair").await.rest().await.is_done(), "{name}");
    }
    assert!(b.seen().is_empty(), "no failover after content");
}

#[tokio::test]
async fn every_valid_form_of_event_lines_is_parsed() {
    let (app, a, _b) = pair().await;
    let text = ": hello\r\n\r\nevent: message\r\nid: 1\r\ndata:{\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\"crlf\"},\"finish_reason\":null}]}\r\n\r\n";
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    // The first part is sent one byte at a time, so that events are split everywhere.
    let mut script = vec![stream_head()];
    script.extend(text.bytes().map(|byte| Step::Bytes(vec![byte])));
    script.push(Step::Bytes(end.into()));
    a.then(script);
    let finished = app.stream("pair").await.rest().await;
    let raw = finished.events.join("\n\n");
    assert!(raw.contains("crlf") && raw.contains("[DONE]") && finished.error().is_none(), "{raw}");
}

#[tokio::test]
async fn the_usage_chunk_is_sent_only_on_request() {
    let (app, a, _b) = pair().await;
    let usage = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n";
    let script = stream([role(), content("x"), stop(), usage.to_owned(), DONE.to_owned()]);
    a.then(script.clone()).then(script);
    let finished = app.stream("pair").await.rest().await;
    assert!(finished.chunks().iter().all(|chunk| chunk["choices"] != json!([])), "{finished:?}");
    let mut asking = hi("pair");
    asking["stream_options"] = json!({ "include_usage": true });
    let finished = app.stream_with(asking).await.rest().await;
    assert_eq!(finished.chunks().iter().filter(|chunk| chunk["usage"]["total_tokens"] == 10).count(), 1);
    assert!(finished.is_done());
    let requested = a.seen().iter().all(|seen| seen.json()["stream_options"]["include_usage"] == true);
    assert!(requested, "usage is always requested from the provider");
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_upstream_call_within_100_ms() {
    let (app, a, _b) = pair().await;
    let waiting: Vec<(&str, bool, Script)> = vec![
        ("streaming", true, vec![stream_head(), Step::Bytes(content("x").into()), Step::Hold]),
        ("waiting for content", true, vec![stream_head(), Step::Bytes(role().into()), Step::Hold]),
        ("waiting for the answer", false, vec![Step::Hold]),
    ];
    for (name, streaming, script) in waiting {
        let mut quickest = Duration::MAX;
        // One of three attempts must be in time, because the machine may be busy.
        for _ in 0..3 {
            a.then(script.clone());
            let before = a.seen().len();
            let mut body = hi("pair");
            body["stream"] = streaming.into();
            let mut call = Box::pin(app.chat_call(&body).send());
            let reply = tokio::time::timeout(Duration::from_millis(300), &mut call).await;
            eventually(Duration::from_secs(3), "the call arrived", async || (a.seen().len() > before).then_some(()))
                .await;
            let left = Instant::now();
            drop((reply, call));
            let noticed = eventually(Duration::from_secs(5), name, async || a.seen().last().unwrap().left_at);
            quickest = quickest.min(noticed.await.saturating_duration_since(left));
        }
        assert!(quickest <= scaled(Duration::from_millis(100)), "{name}: {quickest:?}");
    }
}

#[tokio::test]
async fn back_pressure_reaches_the_provider() {
    let (app, a, _b) = pair().await;
    let line = content(&"x".repeat(16 * 1024));
    a.then(vec![stream_head(), Step::Endless(line.into())]);
    let mut stream = app.stream("pair").await;
    for _ in 0..10 {
        stream.next().await.unwrap().unwrap();
    }
    // Without reads the socket buffers fill up, and then no more data is accepted.
    let taken = || a.seen()[0].written;
    let mut last = 0;
    eventually(Duration::from_secs(20), "the provider is held back", async || {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = taken();
        let stopped = now == last;
        last = now;
        stopped.then_some(())
    })
    .await;
    assert!(taken() < 32 << 20, "{} bytes taken from the provider", taken());
    for _ in 0..(taken() / (16 * 1024) + 100) {
        stream.next().await.unwrap().unwrap();
    }
    assert!(taken() > last, "the provider continues when the caller reads");
}

#[tokio::test]
async fn a_candidate_too_slow_before_content_fails_over() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file =
        "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n[timeouts]\nfirst_content_ms = 400\n";
    let app = TestApp::setup().lab("a", &a).lab("b", &b).file(file).start().await;
    a.then(vec![stream_head(), Step::Bytes(role().into()), Step::Hold]);
    b.then(hello());
    let finished = app.stream("pair").await.rest().await;
    assert_eq!(finished.content(), "hello");
    assert_eq!(finished.header("x-tollfree-attempts"), Some("a/m;timeout, b/m;ok"));
    a.then(vec![Step::Hold]);
    b.then(whole(200, &answer("quick")));
    let answer = app.chat("pair").await;
    assert_eq!((answer.content().as_str(), answer.attempts()), ("quick", "a/m;timeout, b/m;ok"));
}

#[tokio::test]
async fn tool_deltas_without_an_index_get_one() {
    let (app, gemini) = {
        let gemini = FakeUpstream::start().await;
        (TestApp::setup().played("gemini", &gemini).start().await, gemini)
    };
    let call = |name: &str| {
        format!(r#"{{"id":"{name}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#)
    };
    let delta = format!(r#"{{"role":"assistant","tool_calls":[{},{}]}}"#, call("f"), call("g"));
    let first = crate::support::fake_upstream::chunk(&delta, Some("stop"));
    gemini.then(stream([first, DONE.to_owned()]));
    let finished = app.stream("gemini/gemini-3.5-flash-lite").await.rest().await;
    let calls = finished.chunks()[0]["choices"][0]["delta"]["tool_calls"].clone();
    assert_eq!((&calls[0]["index"], &calls[1]["index"]), (&json!(0), &json!(1)), "{calls}");
}
