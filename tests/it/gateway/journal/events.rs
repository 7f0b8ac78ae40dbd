//! `/admin/v1/events`: new requests and budget changes of all replicas.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ADMIN_KEY, AdminReads, SOON, everywhere, setup};
use crate::support::{
    app::hi,
    eventually,
    fake_upstream::FakeUpstream,
    http::{Answer, Stream},
};

/// Reads events until `enough` of them are of this kind.
async fn events(stream: &mut Stream, kind: &str, enough: usize) -> Vec<(Option<String>, Value)> {
    let mut found = Vec::new();
    while found.len() < enough {
        let event = tokio::time::timeout(SOON, stream.next()).await.expect("an event").expect("no end").unwrap();
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        if field("event") == Some(kind) {
            found.push((field("id").map(str::to_owned), serde_json::from_str(field("data").unwrap()).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn events_contain_requests_and_budgets_of_all_replicas_and_resume_after_the_last_id() {
    let upstream = FakeUpstream::start().await;
    everywhere(
        || setup(&upstream),
        async |one, two| {
            let listen = |last: Option<&str>| {
                let call = two.request("GET", "/admin/v1/events").bearer_auth(ADMIN_KEY);
                Stream::of(if let Some(last) = last { call.header("last-event-id", last) } else { call })
            };
            let mut stream = listen(None).await;
            assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
            let budget = events(&mut stream, "budget", 1).await.remove(0);
            assert_eq!((budget.0, &budget.1["totals"]["requests"]), (None, &json!(0)));
            for number in 0..3 {
                Answer::of(one.chat_call(&hi("lab/m")).header("x-request-id", format!("r{number}"))).await;
            }
            let lines = events(&mut stream, "request", 3).await;
            let ids: Vec<&Value> = lines.iter().map(|(_, line)| &line["id"]).collect();
            assert_eq!(ids, [&json!("r0"), &json!("r1"), &json!("r2")]);
            assert!(lines.iter().all(|(id, line)| line["cursor"] == **id.as_ref().unwrap()));
            let journal = two.has(3).await;
            assert_eq!(lines[2].1, journal[0], "the same as in the list");
            let mut other = listen(lines[0].0.as_deref()).await;
            events(&mut other, "budget", 1).await; // sent immediately, although nothing has changed
            let again = events(&mut other, "request", 2).await;
            assert_eq!(again, lines[1..], "nothing twice, nothing missing");
            Answer::of(one.chat_call(&hi("lab/m")).header("x-request-id", "r3")).await;
            for stream in [&mut stream, &mut other] {
                assert_eq!(events(stream, "request", 1).await[0].1["id"], "r3");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn events_end_when_the_process_drains() {
    let upstream = FakeUpstream::start().await;
    let mut app = setup(&upstream).start().await;
    let mut stream = Stream::of(app.request("GET", "/admin/v1/events").bearer_auth(ADMIN_KEY)).await;
    events(&mut stream, "budget", 1).await;
    app.signal("TERM");
    let finished = tokio::time::timeout(Duration::from_secs(5), stream.rest()).await.expect("it ends");
    assert!(!finished.broken);
    let ended = async || app.process().ended();
    assert!(eventually(SOON, "the process ends", ended).await.success());
}
