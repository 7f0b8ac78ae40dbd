//! Sessions of coding agents: served at one candidate by every replica, recorded, and given way to others only while little is left.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, hi},
    eventually,
    fake_upstream::{FakeUpstream, whole},
    http::Answer,
    redis_server::RedisServer,
};

const ADMIN_KEY: &str = "the-admin-key";
const SOON: Duration = Duration::from_secs(10);
const CLAUDE_CODE: &str = "x-claude-code-session-id";

/// Two providers behind one name, in turn where nothing else decides.
fn pair(a: &FakeUpstream, b: &FakeUpstream, strategy: &str) -> crate::support::app::Setup {
    let file = format!("[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"{strategy}\"\n");
    TestApp::setup().lab("a", a).lab("b", b).file(&file).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
}

fn message(app: &TestApp) -> reqwest::RequestBuilder {
    let body = json!({ "model": "pair", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    app.request("POST", "/v1/messages").json(&body)
}

fn response(app: &TestApp, key: &str) -> reqwest::RequestBuilder {
    app.request("POST", "/v1/responses").json(&json!({ "model": "pair", "input": "hi", "prompt_cache_key": key }))
}

async fn provider(call: reqwest::RequestBuilder) -> String {
    let answer = Answer::of(call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.provider().to_owned()
}

/// Waits until the store has this number of sessions, which are written behind the answers.
async fn until_kept(redis: &RedisServer, count: usize) {
    let what = format!("{count} sessions are kept");
    eventually(SOON, &what, async || {
        let keys = redis.command(&["KEYS", "*stay:*"]);
        (keys.lines().filter(|line| line.contains("stay:")).count() == count).then_some(())
    })
    .await;
}

type Call<'c> = Box<dyn Fn(&TestApp) -> reqwest::RequestBuilder + 'c>;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_served_at_one_candidate_by_every_replica() {
    let (redis, a, b) = (RedisServer::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    let (one, two) = (
        pair(&a, &b, "round_robin").redis(&redis).start().await,
        pair(&a, &b, "round_robin").redis(&redis).start().await,
    );
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let agent = json!({ "model": "pair", "tools": tools, "messages": [{ "role": "user", "content": "fix it" }] });
    let ways: [(&str, Call); 5] = [
        ("Claude Code", Box::new(|app| message(app).header(CLAUDE_CODE, "c-1"))),
        ("a cache key", Box::new(|app| response(app, "k-1"))),
        ("a chat with a header", Box::new(|app| app.chat_call(&hi("pair")).header("session-id", "s-1"))),
        ("the opening of a message", Box::new(message)),
        ("the opening of a chat with tools", Box::new(|app| app.chat_call(&agent))),
    ];
    for (at, (name, call)) in ways.iter().enumerate() {
        let first = provider(call(&one)).await;
        until_kept(&redis, at + 1).await;
        for app in [&two, &two, &one, &two, &one] {
            assert_eq!(provider(call(app)).await, first, "{name}");
        }
    }
    let keys = redis.command(&["KEYS", "*stay:*"]);
    let key = keys.lines().find(|line| line.contains("stay:")).unwrap();
    let ttl = redis.command(&["PTTL", key]);
    let ttl: i64 = ttl.lines().next().and_then(|line| line.strip_prefix(':')).unwrap().parse().unwrap();
    assert!((1_700_000..=1_800_000).contains(&ttl), "{ttl}");
    // A chat that names no session is served in turn, and leaves nothing in the store.
    let mut served = BTreeSet::new();
    for _ in 0..2 {
        served.insert(provider(one.chat_call(&hi("pair"))).await);
    }
    assert_eq!(served.len(), 2, "{served:?}");
    until_kept(&redis, ways.len()).await;
}

#[tokio::test]
async fn a_session_moves_when_its_candidate_fails_or_is_full_and_stays_there() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let app = pair(&a, &b, "listed").file("[providers.b.models.m.limits]\nrpm = 3\n").start().await;
    let session = |name: &'static str| message(&app).header(CLAUDE_CODE, name);
    a.then(whole(500, "{}"));
    assert_eq!(provider(session("s")).await, "b", "the first candidate has failed");
    app.settled().await;
    assert_eq!(provider(session("s")).await, "b");
    assert_eq!(provider(session("other")).await, "a", "another session has not moved");
    assert_eq!(provider(session("s")).await, "b", "the last that the second candidate has");
    assert_eq!(provider(session("s")).await, "a");
    app.settled().await;
    assert_eq!(provider(session("s")).await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_stays_does_not_come_before_another_client() {
    let upstream = FakeUpstream::start().await;
    let table = |name: &str| {
        let url = upstream.base_url();
        format!("[providers.{name}]\nbase_url = \"{url}\"\nlimits = {{ rps = 1 }}\n[providers.{name}.models.m]\n")
    };
    let pair = "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n";
    let setup = TestApp::setup().file(&format!("{}{}{pair}", table("a"), table("b")));
    let setup = setup.env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).env("TOLLFREE__QUEUE__MAX_WAIT_MS", 60_000);
    let app = setup.start().await;
    let client = async |name: &str| {
        let call = app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).json(&json!({ "name": name }));
        Answer::of(call).await.json()["key"].as_str().unwrap().to_owned()
    };
    let (agent, other) = (client("agent").await, client("other").await);
    let call = |key: &str, words: &str| {
        let body = json!({ "model": "pair", "max_tokens": 9, "messages": [{ "role": "user", "content": words }] });
        app.request("POST", "/v1/messages").bearer_auth(key).json(&body)
    };
    let of_session = || call(&agent, "session").header(CLAUDE_CODE, "s");
    assert_eq!(provider(of_session()).await, "a");
    app.settled().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        calls.spawn(provider(of_session()));
    }
    let waiting = async |least: f64| {
        eventually(SOON, "requests wait", async || {
            let metrics = app.get("/metrics").await.text();
            let line =
                metrics.lines().find_map(|line| line.strip_prefix("tollfree_requests_waiting")?.split(' ').nth(1));
            line.and_then(|number| number.parse::<f64>().ok()).filter(|number| *number >= least)
        })
        .await
    };
    waiting(6.0).await;
    for _ in 0..3 {
        calls.spawn(provider(call(&other, "other")));
    }
    calls.join_all().await;
    let order: Vec<bool> =
        upstream.seen().iter().map(|request| request.json()["messages"][0]["content"] == "other").collect();
    let last = order.iter().rposition(|is_other| *is_other).unwrap();
    assert_eq!(order.iter().filter(|is_other| **is_other).count(), 3, "{order:?}");
    assert!(order.len() - 1 - last >= 2, "the other client waits for the whole session: {order:?}");
}

#[tokio::test]
async fn background_work_gives_way_only_while_little_is_left() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let limits = "[providers.a.models.m.limits]\nrpm = 2\n[providers.b.models.m.limits]\nrpm = 2\n";
    let app = pair(&a, &b, "listed").file(limits).start().await;
    let call = |class: &'static str| message(&app).header("x-claude-code-request-class", class);
    for _ in 0..4 {
        assert_eq!(Answer::of(call("main")).await.status, 200);
    }
    // Ordinary work is refused, because this gateway lets nobody wait; flexible work may wait.
    eventually(SOON, "background work waits", async || {
        assert_eq!(Answer::of(call("main")).await.status, 429);
        let waits = call("auxiliary").timeout(Duration::from_millis(700)).send().await;
        waits.is_err_and(|error| error.is_timeout()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_journal_and_the_figures_know_session_protocol_and_cached_tokens() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let app = pair(&a, &b, "listed").start().await;
    let mut cached: Value = serde_json::from_str(&crate::support::fake_upstream::answer("hello")).unwrap();
    cached["usage"] = json!({ "prompt_tokens": 900, "completion_tokens": 3, "total_tokens": 903,
        "prompt_tokens_details": { "cached_tokens": 768 } });
    a.always(whole(200, &cached.to_string()));
    for call in [message(&app).header(CLAUDE_CODE, "c-1"), response(&app, "k-1"), app.chat_call(&hi("pair"))] {
        assert_eq!(provider(call).await, "a");
    }
    let read = async |path: &str| Answer::of(app.request("GET", path).bearer_auth(ADMIN_KEY)).await.json();
    let records = eventually(SOON, "three records", async || {
        let list = read("/admin/v1/requests").await;
        list["data"].as_array().filter(|records| records.len() == 3).cloned()
    })
    .await;
    let of =
        |record: &Value| json!([record["protocol"], record["session"], record["tokens_in"], record["tokens_cached"]]);
    let mut found: Vec<Value> = records.iter().map(of).collect();
    found.sort_by_key(Value::to_string);
    let wanted = json!([["chat", null, 900, 768], ["messages", "c-1", 900, 768], ["responses", "k-1", 900, 768]]);
    assert_eq!(json!(found), wanted);
    let searched = read("/admin/v1/requests?search=C-1").await;
    assert_eq!(searched["data"].as_array().unwrap().len(), 1, "{searched}");
    let usage = read("/admin/v1/usage?by=provider&step=minute").await;
    let total = &usage["series"][0]["total"];
    assert_eq!((&total["tokens_in"], &total["tokens_cached"]), (&json!(2_700), &json!(2_304)), "{usage}");
    let metrics = app.get("/metrics").await.text();
    for protocol in ["chat", "messages", "responses"] {
        for name in ["gen_ai_server_request_duration_seconds_count", "gen_ai_client_operation_duration_seconds_count"] {
            let label = format!("tollfree_protocol=\"{protocol}\"");
            assert!(metrics.lines().any(|line| line.starts_with(name) && line.contains(&label)), "{name} {label}");
        }
        let of_protocol = |line: &&str| {
            line.starts_with("tollfree_cached_tokens_total{")
                && line.contains(&format!("tollfree_protocol=\"{protocol}\""))
        };
        let series: Vec<&str> = metrics.lines().filter(of_protocol).collect();
        assert!(series.len() == 1 && series[0].ends_with("} 768"), "{protocol}: {series:?}");
    }
}
