//! Streams of slow providers: after 10 s without content the gateway sends 200 and keep-alive comments.

use std::time::Duration;

use crate::support::{
    app::TestApp,
    fake_upstream::{DONE, FakeUpstream, Script, Step, content, role, stop, stream_head},
    http::Stream,
};

fn after(seconds: u64, then: &[String]) -> Script {
    let mut script = vec![stream_head(), Step::Bytes(role().into()), Step::Pause(Duration::from_secs(seconds))];
    script.extend(then.iter().map(|piece| Step::Bytes(piece.clone().into())));
    script
}

async fn patient() -> (TestApp, FakeUpstream, FakeUpstream) {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file =
        "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n[timeouts]\nfirst_content_ms = 40000\n";
    let setup = TestApp::setup().lab("a", &a).lab("b", &b).file(file).env("ROUTE_TIMEOUT_MS", 60_000);
    (setup.start().await, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_10_s_without_content_a_stream_gets_keep_alive_comments() {
    let (app, a, _b) = patient().await;
    a.then(after(22, &[content("late"), stop(), DONE.to_owned()]));
    let stream = app.stream("pair").await;
    let first = stream.start.elapsed();
    assert!(first > Duration::from_secs(9) && first < Duration::from_secs(12), "{first:?}");
    assert_eq!(stream.status, 200);
    let finished = stream.rest().await;
    let comments = finished.events.iter().filter(|event| event.starts_with(':')).count();
    assert!(comments >= 2, "every 10 s: {finished:?}");
    let named =
        finished.events.iter().take_while(|event| !event.contains("data:")).any(|event| event.contains("a/m;ok"));
    assert!(
        named || finished.events.iter().any(|e| e.starts_with(':') && e.contains("a/m")),
        "a comment names the provider: {finished:?}"
    );
    assert_eq!(finished.content(), "late");
    assert!(finished.is_done());
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_works_after_the_early_200_and_a_failure_is_an_event() {
    let (app, a, b) = patient().await;
    a.then(after(12, &[]));
    b.then(after(0, &[content("from b"), stop(), DONE.to_owned()]));
    let finished = app.stream("pair").await.rest().await;
    assert_eq!((finished.status, finished.content().as_str()), (200, "from b"));
    assert!(finished.is_done(), "{finished:?}");
    a.then(after(12, &[]));
    b.then(after(0, &[]));
    let finished = app.stream("pair").await.rest().await;
    assert_eq!(finished.status, 200);
    assert_eq!(finished.error().expect("an error event")["code"], "upstream_error");
    assert!(!finished.is_done() && !finished.broken, "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_held_for_12_s_and_then_kept_alive_by_pings() {
    let (app, a, b) = patient().await;
    let body = serde_json::json!({ "model": "pair", "max_tokens": 9, "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    let call = || Stream::of(app.request("POST", "/v1/messages").json(&body));
    a.then(after(24, &[content("late"), stop(), DONE.to_owned()]));
    let stream = call().await;
    let first = stream.start.elapsed();
    assert!(first > Duration::from_secs(11) && first < Duration::from_secs(15), "{first:?}");
    assert_eq!((stream.status, stream.header("request-id")), (200, stream.header("x-request-id")));
    let finished = stream.rest().await;
    let ping = "event: ping\ndata: {\"type\":\"ping\"}";
    let events: Vec<&str> = finished
        .events
        .iter()
        .map(String::as_str)
        .filter(|event| !event.starts_with(": x-tollfree-provider"))
        .collect();
    assert_eq!(events[..2], [ping; 2], "{finished:?}");
    assert!(events[2].starts_with("event: message_start") && events.last().unwrap().starts_with("event: message_stop"));
    // A failure behind the 200 is an event, and no message ends.
    a.then(after(14, &[]));
    b.then(after(0, &[]));
    let finished = call().await.rest().await;
    assert!(finished.events.last().unwrap().starts_with("event: error"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_streaming_sends_nothing_early() {
    let (app, a, _b) = patient().await;
    let mut script = vec![Step::Pause(Duration::from_secs(13))];
    script.extend(crate::support::fake_upstream::whole(200, &crate::support::fake_upstream::answer("slow")));
    a.then(script);
    let answer = app.chat("pair").await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "slow"));
    assert!(answer.took > Duration::from_secs(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_held_for_as_long_as_its_stream_lasts() {
    let a = FakeUpstream::start().await;
    let app = TestApp::setup()
        .lab("a", &a)
        .file("limits = { concurrency = 1 }\n[timeouts]\nsilence_ms = 60000\n")
        .start()
        .await;
    let mut script = vec![stream_head(), Step::Bytes(content("first").into())];
    script.push(Step::Pause(Duration::from_secs(40)));
    script.extend([stop(), DONE.to_owned()].map(|piece| Step::Bytes(piece.into())));
    a.then(script);
    let stream = app.stream("a/m").await;
    // Without renewal the lease would have expired after 30 s.
    tokio::time::sleep_until(stream.start + Duration::from_secs(35)).await;
    assert_eq!(app.chat("a/m").await.status, 429);
    assert!(stream.rest().await.is_done());
    a.then(crate::support::fake_upstream::whole(200, &crate::support::fake_upstream::answer("next")));
    assert_eq!(app.chat("a/m").await.content(), "next");
}
