//! Redis away: metered routes say so at once, unmetered ones go on, and it is over as soon as Redis is back.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    app::TestApp,
    chaos_proxy::{ChaosProxy, Weather},
    eventually,
    fake_upstream::FakeUpstream,
    redis_server::RedisServer,
    scaled,
};

const METERED: &str = "groq/openai/gpt-oss-20b";
/// What a caller may wait for the news that the ledger is away.
const TOLD_WITHIN: Duration = Duration::from_millis(150);
const BACK_WITHIN: Duration = Duration::from_secs(1);

async fn gateway(url: &str, upstream: &FakeUpstream) -> TestApp {
    let ollama = TestApp::setup().env("OLLAMA_BASE_URL", upstream.base_url()).env("OLLAMA_MODELS", "m");
    ollama.played("groq", upstream).env("REDIS_URL", url).start_unready().await
}

/// The outage as callers see it: the quickest and the slowest refusal, and the local model that goes on.
async fn is_told(app: &TestApp) {
    // A command that was under way when it broke may take its whole deadline.
    app.chat(METERED).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let refused = app.chat(METERED).await;
        assert_eq!(refused.error(), (503, "server_error".into(), "ledger_unavailable".into()));
        assert!(refused.retry_after() <= Duration::from_secs(5));
        slowest = slowest.max(refused.took);
        let local = app.chat("ollama/m").await;
        assert_eq!((local.status, local.provider()), (200, "ollama"), "{}", local.text());
    }
    assert!(slowest < scaled(TOLD_WITHIN), "{slowest:?}");
    assert_eq!(app.get("/healthz").await.status, 200);
    assert_eq!(app.get("/readyz").await.status, 200, "an outage takes no replica out of service");
}

async fn is_back(app: &TestApp) {
    let start = Instant::now();
    eventually(Duration::from_secs(10), "metered routes are back", async || {
        (app.chat(METERED).await.status == 200).then_some(())
    })
    .await;
    assert!(start.elapsed() < scaled(BACK_WITHIN), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted() {
    let (mut redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    for _ in 0..2 {
        redis.kill();
        is_told(&app).await;
        redis.restart().await;
        is_back(&app).await;
    }
    let changes = app.log().lines().filter(|line| line.contains("metered models answer 503")).count();
    assert_eq!(changes, 2, "one line per change of state, not per request:\n{}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_continued() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    redis.stop();
    is_told(&app).await;
    redis.cont();
    is_back(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_and_held_by_the_network() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let proxy = ChaosProxy::to(redis.port()).await;
    let app = gateway(&format!("redis://127.0.0.1:{}", proxy.port()), &upstream).await;
    app.until_ready().await;
    for weather in [Weather::Cut, Weather::Hold, Weather::Slow(Duration::from_millis(400))] {
        proxy.set(weather);
        is_told(&app).await;
        proxy.set(Weather::Fair);
        is_back(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_or_full_redis_is_an_outage_too() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    is_told(&app).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    is_back(&app).await;
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    is_told(&app).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    is_back(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_at_the_start_it_is_waited_for() {
    let (mut redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    redis.kill();
    let app = gateway(&redis.url(), &upstream).await;
    assert_eq!(app.get("/healthz").await.status, 200);
    assert_eq!(app.get("/readyz").await.status, 503);
    assert_eq!(app.chat(METERED).await.error().2, "ledger_unavailable");
    redis.restart().await;
    is_back(&app).await;
    eventually(Duration::from_secs(2), "ready now", async || (app.get("/readyz").await.status == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_redis_gives_no_second_budget() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = || {
        let file = "[providers.groq.models.\"openai/gpt-oss-20b\"]\nlimits = { rpm = 8 }\nwindow = \"sliding\"\n";
        TestApp::setup().played("groq", &upstream).redis(&redis).file(file)
    };
    let (one, two) = (setup().start().await, setup().start().await);
    for app in [&one, &two, &one, &two, &one, &two] {
        assert_eq!(app.chat(METERED).await.status, 200);
    }
    redis.flush();
    let mut granted = 6;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for app in [&one, &two] {
            granted += usize::from(app.chat(METERED).await.status == 200);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(granted, 8, "what the replicas remember is repeated to the new Redis");
    assert_eq!(upstream.seen().len(), 8);
}
