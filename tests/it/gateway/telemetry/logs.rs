//! Log records of a request and their ids, on standard error and at the collector.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    app::{TestApp, hi},
    collector::{Collector, attributes, hex},
    eventually,
    fake_upstream::{FakeUpstream, whole},
    http::Answer,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn lines(app: &TestApp, request: &str) -> Vec<Value> {
    let log = app.log();
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|line| line["request.id"] == request).collect()
}

#[tokio::test]
async fn every_log_record_of_a_request_has_its_id_and_its_trace() {
    let (collector, upstream) = (Collector::http().await, FakeUpstream::start().await);
    upstream.always(whole(503, "{}"));
    let app = collector.attach(TestApp::setup()).lab("lab", &upstream).start().await;
    let call = app.chat_call(&hi("lab/m")).header("x-request-id", "job-9");
    let call = call.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(Answer::of(call).await.status, 502);
    let ours = collector.trace(&["POST /v1/chat/completions"], |span| span.trace == TRACE).await;
    let lines = lines(&app, "job-9");
    assert!(lines.len() >= 2, "the struck attempt and the end: {}", app.log());
    for line in &lines {
        assert_eq!(line["trace_id"], TRACE, "{line}");
        let span = line["span_id"].as_str().unwrap();
        assert!(ours.iter().any(|seen| seen.id == span), "{line}");
    }
    let last = collector.line("POST /v1/chat/completions: 502").await;
    assert_eq!(hex(&last.trace_id), TRACE);
    assert!(ours.iter().any(|seen| seen.id == hex(&last.span_id)));
    assert_eq!(attributes(&last.attributes)["http.response.status_code"], 502);
    assert_eq!(attributes(&last.attributes)["request.id"], "job-9");
    assert_eq!(last.severity_text, "INFO");
}

#[tokio::test]
async fn without_a_collector_log_records_have_the_callers_trace_at_any_level() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let call = app.chat_call(&hi("lab/m")).header("x-request-id", "job-1");
    let call = call.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(Answer::of(call).await.status, 200);
    let call = app.chat_call(&hi("lab/m")).header("x-request-id", "job-2");
    assert_eq!(Answer::of(call).await.status, 200);
    let both =
        async || Some((lines(&app, "job-1"), lines(&app, "job-2"))).filter(|(a, b)| !a.is_empty() && !b.is_empty());
    let (traced, plain) = eventually(Duration::from_secs(5), "both requests are logged", both).await;
    assert_eq!((&traced[0]["trace_id"], traced[0].get("span_id")), (&TRACE.into(), None));
    assert_eq!(plain[0].get("trace_id"), None);
    assert_eq!(plain[0]["level"], "INFO");
}
