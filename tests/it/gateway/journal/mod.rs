//! The journal, the roll-ups and the budget over HTTP: complete, bounded, and equal on every replica.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp, hi},
    eventually,
    fake_upstream::{FakeUpstream, Step, answer, content, stop, stream_head, whole},
    http::Answer,
    redis_server::RedisServer,
};

mod events;
mod storage;
mod usage;

const ADMIN_KEY: &str = "the-admin-key";
const SOON: Duration = Duration::from_secs(10);

trait AdminReads {
    async fn as_admin(&self, path: &str) -> Answer;
    async fn read(&self, path: &str) -> Value;
    async fn journal(&self, query: &str) -> Vec<Value>;
    async fn has(&self, count: usize) -> Vec<Value>;
}

impl AdminReads for TestApp {
    async fn as_admin(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).bearer_auth(ADMIN_KEY)).await
    }

    /// Retries while a busy machine makes Redis miss its deadline.
    async fn read(&self, path: &str) -> Value {
        let attempt = async || Some(self.as_admin(path).await).filter(|answer| answer.status != 503);
        let answer = eventually(SOON, path, attempt).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    async fn journal(&self, query: &str) -> Vec<Value> {
        let list = self.read(&format!("/admin/v1/requests?{query}")).await;
        list["data"].as_array().unwrap().clone()
    }

    /// Waits for `count` records and returns them, newest first.
    async fn has(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} lines");
        eventually(SOON, &what, async || {
            let lines = self.journal("limit=200").await;
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

fn setup(upstream: &FakeUpstream) -> Setup {
    TestApp::setup().lab("lab", upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
}

fn names(lines: &[Value], field: &str) -> Vec<String> {
    lines.iter().map(|line| line[field].as_str().unwrap_or("null").to_owned()).collect()
}

/// Runs a test on one replica with embedded state, and on two with one Redis: requests go to the first, reads to the second.
async fn everywhere(make: impl Fn() -> Setup, run: impl AsyncFn(&TestApp, &TestApp)) {
    let alone = make().start().await;
    run(&alone, &alone).await;
    let redis = RedisServer::start().await;
    let (one, two) = (make().redis(&redis).start().await, make().redis(&redis).start().await);
    run(&one, &two).await;
}

#[tokio::test]
async fn a_record_has_client_attempts_tokens_and_outcome() {
    let (upstream, broken) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let make = || {
        setup(&upstream)
            .lab("bad", &broken)
            .file("[models.both]\nmembers = [\"bad/m\", \"lab/m\"]\nstrategy = \"listed\"\n")
    };
    everywhere(make, async |one, two| {
        broken.then(whole(500, "{}"));
        let mut call = one.chat_call(&hi("both")).header("x-request-id", "first");
        call = call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(Answer::of(call).await.status, 200);
        let lines = two.has(1).await;
        let line = &lines[0];
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        // `ledger_wait_ms` is present only where the ledger was slow.
        let keys: Vec<&str> = keys.into_iter().filter(|key| *key != "ledger_wait_ms").collect();
        let mut wanted = vec![
            "object",
            "id",
            "cursor",
            "time",
            "client",
            "client_name",
            "protocol",
            "session",
            "model_requested",
            "provider",
            "model",
            "account",
            "status",
            "stream",
            "attempts",
            "passed_over",
            "waited_ms",
            "first_token_ms",
            "duration_ms",
            "tokens_in",
            "tokens_out",
            "tokens_cached",
            "error_code",
            "trace_id",
        ];
        wanted.sort_unstable();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, wanted);
        let field = |name: &str| line[name].clone();
        assert_eq!((field("id"), field("object"), field("status")), (json!("first"), json!("request"), json!(200)));
        assert_eq!(
            (field("model_requested"), field("model"), field("provider")),
            (json!("both"), json!("lab/m"), json!("lab"))
        );
        assert_eq!(field("protocol"), "chat");
        assert_eq!((field("client"), field("client_name")), (json!("anon:127.0.0.1"), Value::Null));
        assert_eq!((field("tokens_in"), field("tokens_out"), field("stream")), (json!(7), json!(3), json!(false)));
        assert_eq!((field("account"), field("error_code")), (json!("none"), Value::Null));
        assert_eq!(field("trace_id"), json!("4bf92f3577b34da6a3ce929d0e0e4736"));
        let attempts = line["attempts"].as_array().unwrap();
        let causes: Vec<(&Value, &Value)> = attempts.iter().map(|a| (&a["candidate"], &a["cause"])).collect();
        assert_eq!(causes, [(&json!("bad/m"), &json!("500")), (&json!("lab/m"), &json!("ok"))]);
        let ms = |value: &Value| value.as_i64().unwrap();
        let ends: Vec<i64> = attempts.iter().map(|a| ms(&a["at_ms"]) + ms(&a["duration_ms"])).collect();
        assert!(ms(&attempts[1]["at_ms"]) >= ends[0] && ends[1] <= ms(&line["duration_ms"]) + 1, "{line}");
        assert!(ms(&line["first_token_ms"]) <= ms(&line["duration_ms"]), "{line}");
    })
    .await;
}

#[tokio::test]
async fn the_record_of_a_refusal_lists_the_skipped_candidates() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.tight]\nbase_url = \"{}\"\n[providers.tight.models.m]\nlimits = {{ rpm = 1 }}\n",
        upstream.base_url()
    );
    everywhere(
        || TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(&file),
        async |one, two| {
            assert_eq!((one.chat("tight/m").await.status, one.chat("tight/m").await.status), (200, 429));
            assert_eq!(one.chat("tight/nothing").await.status, 404);
            assert_eq!(one.post_raw("/v1/chat/completions", "application/json", "{").await.status, 400);
            let lines = two.has(4).await;
            assert_eq!(names(&lines, "error_code"), ["invalid_json", "model_not_found", "budget_exhausted", "null"]);
            let passed = &lines[2]["passed_over"][0];
            assert_eq!((&passed["candidate"], &passed["why"]), (&json!("tight/m"), &json!("rpm")));
            assert!((1..=60_300).contains(&passed["retry_in_ms"].as_i64().unwrap()), "{passed}");
            for (filter, found) in [
                ("status=ok", vec![200]),
                ("status=429", vec![429]),
                ("status=error", vec![400, 404]),
                ("provider=tight", vec![200]),
                ("model=tight/m", vec![429, 200]),
                ("search=NOTHING", vec![404]),
                ("client=anon:127.0.0.1&limit=2", vec![400, 404]),
                ("client=nobody", vec![]),
            ] {
                let statuses: Vec<Value> =
                    two.journal(filter).await.iter().map(|line| line["status"].clone()).collect();
                assert_eq!(json!(statuses), json!(found), "{filter}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn pages_have_no_gaps_and_the_last_has_no_cursor() {
    let upstream = FakeUpstream::start().await;
    everywhere(
        || setup(&upstream),
        async |one, two| {
            for number in 0..23 {
                let call = one.chat_call(&hi("lab/m")).header("x-request-id", format!("r{number}"));
                assert_eq!(Answer::of(call).await.status, 200);
            }
            let all = two.has(23).await;
            for filter in ["", "&client=anon:127.0.0.1", "&search=r"] {
                let (mut pages, mut cursor) = (Vec::new(), String::new());
                loop {
                    let list = two.read(&format!("/admin/v1/requests?limit=5{filter}{cursor}")).await;
                    pages.push(list["data"].as_array().unwrap().clone());
                    match list["next_cursor"].as_str() {
                        Some(next) => cursor = format!("&cursor={next}"),
                        None => break,
                    }
                }
                assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 3], "{filter}");
                assert_eq!(pages.concat(), all, "{filter}");
            }
            let (first, last) = (all[22]["time"].as_str().unwrap(), all[0]["time"].as_str().unwrap());
            assert_eq!(two.journal(&format!("since={first}&until={last}&limit=200")).await.len(), 23);
            assert!(two.journal(&format!("since={last}")).await.len() < 23);
            assert!(two.journal("since=2999-01-01T00:00:00Z").await.is_empty());
        },
    )
    .await;
}

#[tokio::test]
async fn an_invalid_parameter_is_400_and_is_named() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TOLLFREE_API_KEY", "team").start().await;
    for (path, param) in [
        ("requests?limits=5", "limits"),
        ("requests?limit=0", "limit"),
        ("requests?limit=201", "limit"),
        ("requests?limit=1&limit=1", "limit"),
        ("requests?cursor=yesterday", "cursor"),
        ("requests?cursor=1-2-3", "cursor"),
        ("requests?status=bad", "status"),
        ("requests?since=today", "since"),
        ("requests?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("usage?by=colour", "by"),
        ("usage?step=week", "step"),
        ("usage?from=2026-01-01T00:00:00Z&to=2026-01-09T00:00:00Z", "from"),
        ("usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("usage?step=day&from=0001-01-01T00:00:00Z", "from"),
        ("budget?x=1", "x"),
        ("events?x=1", "x"),
        ("models?x=1", "x"),
    ] {
        let answer = app.as_admin(&format!("/admin/v1/{path}")).await;
        assert_eq!((answer.error().0, answer.error().2.as_str()), (400, "invalid_value"), "{path}");
        assert_eq!(answer.json()["error"]["param"], param, "{path}");
        let open = app.get(&format!("/admin/v1/{path}")).await;
        assert_eq!(open.error().0, 401, "unauthenticated callers get no other error: {path}");
        let client = Answer::of(app.request("GET", &format!("/admin/v1/{path}")).bearer_auth("team")).await;
        assert_eq!(client.error().2, "admin_required", "{path}");
    }
    let own = Answer::of(app.request("GET", "/v1/usage?client=admin").bearer_auth("team")).await;
    assert_eq!((own.error().0, own.json()["error"]["param"].as_str()), (400, Some("client")), "only one's own");
    let events = app.request("GET", "/admin/v1/events").bearer_auth(ADMIN_KEY).header("last-event-id", "x");
    assert_eq!(Answer::of(events).await.json()["error"]["param"], "last-event-id");
    assert_eq!(app.request("POST", "/admin/v1/requests").send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_broken_stream_is_recorded_as_broken() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).start().await;
    upstream.then(vec![stream_head(), Step::Bytes(content("one").into()), Step::Reset]);
    let finished = app.stream("lab/m").await.rest().await;
    assert!(finished.error().is_some(), "{finished:?}");
    upstream.then(vec![stream_head(), Step::Bytes(content("one").into()), Step::Bytes(stop().into())]);
    assert!(app.stream("lab/m").await.rest().await.is_done());
    upstream.then(whole(200, &answer("whole")));
    app.chat("lab/m").await;
    let lines = app.has(3).await;
    let recorded: Vec<(&Value, &Value, &Value)> =
        lines.iter().map(|line| (&line["status"], &line["error_code"], &line["stream"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(recorded[..2], [(&json!(200), &Value::Null, &no), (&json!(200), &Value::Null, &yes)]);
    assert_eq!(recorded[2], (&json!(502), &json!("upstream_error"), &yes));
    assert_ne!(lines[2]["attempts"][0]["cause"], "ok");
}
