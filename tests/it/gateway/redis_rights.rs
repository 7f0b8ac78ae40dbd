//! Users of Redis with the rights of docs/redis.md and with fewer, and keys of the pool that another program wrote.

use std::time::Duration;

use serde_json::json;

use crate::support::{app::TestApp, eventually, fake_upstream::FakeUpstream, redis_server::RedisServer};

const METERED: &str = "groq/openai/gpt-oss-20b";

/// The `ACL SETUSER` command of docs/redis.md, in one line.
fn documented_rights() -> String {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md")).unwrap();
    let start = docs.find("ACL SETUSER").expect("docs/redis.md has the command");
    let command = docs[start..].split("```").next().unwrap();
    command.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn set_user(redis: &RedisServer, rights: &str) {
    let command = rights.replace("PASSWORD", "secret");
    let reply = redis.command(&command.split(' ').collect::<Vec<_>>());
    assert!(reply.starts_with("+OK"), "{command}: {reply}");
}

async fn gateway(redis: &RedisServer, upstream: &FakeUpstream, max_wait_ms: u32) -> TestApp {
    let url = redis.url().replace("redis://", "redis://tollfree:secret@");
    let setup = TestApp::setup().played("groq", upstream).played("ollama", upstream).env("OLLAMA_MODELS", "m");
    let file = "[providers.groq]\nlimits = { concurrency = 1 }\n";
    let setup = setup.env("TOLLFREE__QUEUE__MAX_WAIT_MS", max_wait_ms);
    setup.env("REDIS_URL", url).env("TOLLFREE_ADMIN_KEY", "an-admin-key-of-ours").file(file).start_unready().await
}

fn complaints(app: &TestApp) -> Vec<String> {
    app.log().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_of_the_docs_can_serve_everything() {
    let (redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    set_user(&redis, &documented_rights());
    let app = gateway(&redis, &upstream, 30_000).await;
    app.until_ready().await;
    // Calls that wait for a slot are notified when it becomes free.
    let body = json!({ "model": METERED, "messages": [{ "role": "user", "content": "hi" }] });
    let wait = async || crate::support::http::Answer::of(app.chat_call(&body).header("prefer", "wait=10")).await.status;
    assert_eq!(tokio::join!(wait(), wait(), wait()), (200, 200, 200));
    let admin = |method: &str, path: &str| app.request(method, path).bearer_auth("an-admin-key-of-ours");
    for (method, path, body) in [
        ("POST", "/admin/v1/clients", json!({ "name": "ann", "limits": { "rpm": 5 } })),
        ("GET", "/admin/v1/clients", json!(null)),
        ("POST", "/v1/status/providers/groq/reset", json!({})),
        ("PATCH", "/v1/status/routing", json!({ "strategy": "random" })),
        ("GET", "/admin/v1/audit", json!(null)),
        ("GET", "/admin/v1/requests", json!(null)),
        ("GET", "/admin/v1/budget", json!(null)),
        ("GET", "/admin/v1/usage", json!(null)),
    ] {
        let call = if body.is_null() { admin(method, path) } else { admin(method, path).json(&body) };
        let answer = crate::support::http::Answer::of(call).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
    }
    let denied = redis.command(&["ACL", "LOG"]);
    assert!(denied.starts_with("*0"), "a right is missing in docs/redis.md: {denied}");
    assert_eq!(complaints(&app), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_one_clear_line_and_the_gateway_is_not_ready() {
    let upstream = FakeUpstream::start().await;
    for (fewer, named) in [
        (" -hset", "may not run HSET on"),
        (" -publish -evalsha", "may not run EVALSHA, PUBLISH on"),
        (" resetkeys ~other:*", "no access to the keys `tf1:{default}:*`"),
    ] {
        let redis = RedisServer::start().await;
        set_user(&redis, &(documented_rights() + fewer));
        let app = gateway(&redis, &upstream, 0).await;
        eventually(Duration::from_secs(5), "the right is named", async || app.log().contains(named).then_some(()))
            .await;
        assert_eq!(app.chat(METERED).await.error().2, "ledger_unavailable");
        assert_eq!(app.chat("ollama/m").await.status, 200, "local models go on");
        assert_eq!(app.get("/readyz").await.status, 503);
        let lines = complaints(&app);
        assert_eq!(lines.iter().filter(|line| line.contains(named)).count(), 1, "{lines:?}");
        assert!(lines.len() <= 3, "{lines:?}");
        set_user(&redis, &documented_rights());
        app.until_ready().await;
        assert_eq!(app.chat(METERED).await.status, 200, "the right was given");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn information_that_is_forbidden_is_done_without() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    set_user(&redis, &(documented_rights() + " -info -config|get"));
    let app = gateway(&redis, &upstream, 0).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    assert_eq!(complaints(&app), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_program_overwrote_is_named_and_healed() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let file = "[providers.groq.models.\"openai/gpt-oss-20b\"]\nlimits = { rpm = 8 }\nwindow = \"sliding\"\n";
    let setup = TestApp::setup().played("groq", &upstream).played("ollama", &upstream).env("OLLAMA_MODELS", "m");
    let app = setup.redis(&redis).file(file).env("TOLLFREE__QUEUE__MAX_WAIT_MS", 10_000).start().await;
    let body = json!({ "model": METERED, "messages": [{ "role": "user", "content": "hi" }] });
    let mut served = 0;
    for name in ["health", "queue", "meta", "journal", "totals", "speed"] {
        let key = format!("tf1:{{default}}:{name}");
        redis.command(&["DEL", &key]);
        redis.command(&["SET", &key, "rubbish"]);
        served += usize::from(app.chat(METERED).await.status == 200);
        assert_eq!(app.chat("ollama/m").await.status, 200, "local models go on: {name}");
    }
    for name in ["health", "meta"] {
        assert!(app.log().contains(&format!("tf1:{{default}}:{name} (a string in place of a hash)")), "{}", app.log());
    }
    assert_eq!(served, 6, "{}", app.log());
    for _ in 0..4 {
        let call = app.chat_call(&body).header("prefer", "wait=0");
        served += usize::from(crate::support::http::Answer::of(call).await.status == 200);
    }
    assert_eq!(served, 8, "the counters were not lost with the keys");
}
