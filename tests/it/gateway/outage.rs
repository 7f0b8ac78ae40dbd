//! Outages of Redis: metered models fail fast, local models keep working, and service resumes when Redis does.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    app::TestApp,
    chaos_proxy::{ChaosProxy, NetworkFault},
    eventually,
    fake_upstream::FakeUpstream,
    redis_server::RedisServer,
    scaled,
};

const METERED: &str = "groq/openai/gpt-oss-20b";
/// Bound on the time until a caller receives the error.
const FAILS_WITHIN: Duration = Duration::from_millis(150);
const RECOVERY: Duration = Duration::from_secs(1);

async fn gateway(url: &str, upstream: &FakeUpstream) -> TestApp {
    let ollama = TestApp::setup().env("OLLAMA_BASE_URL", upstream.base_url()).env("OLLAMA_MODELS", "m");
    ollama.played("groq", upstream).env("REDIS_URL", url).start_unready().await
}

/// Checks that metered models fail fast and a local model keeps working.
async fn fails_fast(app: &TestApp) {
    // The first command may meet a connection that is silent, which counts as dead after a second.
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
    assert!(slowest < scaled(FAILS_WITHIN), "{slowest:?}");
    assert_eq!(app.get("/healthz").await.status, 200);
    assert_eq!(app.get("/readyz").await.status, 200, "an outage takes no replica out of service");
}

async fn recovers(app: &TestApp) {
    let start = Instant::now();
    eventually(Duration::from_secs(10), "metered models work again", async || {
        (app.chat(METERED).await.status == 200).then_some(())
    })
    .await;
    assert!(start.elapsed() < scaled(RECOVERY), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_is_an_outage_until_its_restart() {
    let (mut redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    for _ in 0..2 {
        redis.kill();
        fails_fast(&app).await;
        redis.restart().await;
        recovers(&app).await;
    }
    let changes = app.log().lines().filter(|line| line.contains("metered models answer 503")).count();
    assert_eq!(changes, 2, "the log has one line per change of state, not per request:\n{}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_redis_is_an_outage_until_it_continues() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    redis.stop();
    fails_fast(&app).await;
    redis.cont();
    recovers(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_cuts_or_holds_is_an_outage_and_one_that_delays_is_not() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let proxy = ChaosProxy::to(redis.port()).await;
    let app = gateway(&format!("redis://127.0.0.1:{}", proxy.port()), &upstream).await;
    app.until_ready().await;
    for weather in [Weather::Cut, Weather::Hold] {
        proxy.set(weather);
        fails_fast(&app).await;
        proxy.set(NetworkFault::None);
        recovers(&app).await;
    }
    proxy.set(Weather::Slow(Duration::from_millis(60)));
    for _ in 0..5 {
        assert_eq!(app.chat(METERED).await.status, 200);
    }
    proxy.set(Weather::Hold);
    let (held, ()) = tokio::join!(app.chat(METERED), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        proxy.set(Weather::Fair);
    });
    assert_eq!(held.status, 200, "a stall below a second is no outage: {}", held.text());
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("tollfree_ledger_stall_seconds_count"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_or_full_redis_is_an_outage_too() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = gateway(&redis.url(), &upstream).await;
    app.until_ready().await;
    assert_eq!(app.chat(METERED).await.status, 200);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    fails_fast(&app).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    recovers(&app).await;
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    fails_fast(&app).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    recovers(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_missing_at_the_start_keeps_the_gateway_unready() {
    let (mut redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    redis.kill();
    let app = gateway(&redis.url(), &upstream).await;
    assert_eq!(app.get("/healthz").await.status, 200);
    assert_eq!(app.get("/readyz").await.status, 503);
    assert_eq!(app.chat(METERED).await.error().2, "ledger_unavailable");
    redis.restart().await;
    recovers(&app).await;
    eventually(Duration::from_secs(2), "the gateway is ready", async || {
        (app.get("/readyz").await.status == 200).then_some(())
    })
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
    assert_eq!(granted, 8, "the replicas replay their leases to the empty Redis");
    assert_eq!(upstream.seen().len(), 8);
}
