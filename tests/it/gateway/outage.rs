//! Outages of Redis: callers wait for it, or fail fast where they do not wait; local models keep working, and service
//! resumes when Redis does.

use std::{ops::Range, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    app::TestApp,
    chaos_proxy::{ChaosProxy, NetworkFault},
    eventually,
    fake_upstream::{FakeUpstream, RecordedRequest},
    http::Answer,
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
    let changes = app.log().lines().filter(|line| line.contains("The shared budget cannot be reached")).count();
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
    for fault in [NetworkFault::Cut, NetworkFault::Hold] {
        proxy.set(fault);
        fails_fast(&app).await;
        proxy.set(NetworkFault::None);
        recovers(&app).await;
    }
    proxy.set(NetworkFault::Delay(Duration::from_millis(60)));
    for _ in 0..5 {
        assert_eq!(app.chat(METERED).await.status, 200);
    }
    proxy.set(NetworkFault::Hold);
    let (held, ()) = tokio::join!(app.chat(METERED), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        proxy.set(NetworkFault::None);
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

/// A caller's number, which the provider sees as the order of the calls.
fn numbered(number: usize) -> Value {
    json!({ "model": "lab/m", "messages": [{ "role": "user", "content": format!("{number}") }] })
}

fn order_of(upstream: &FakeUpstream) -> Vec<usize> {
    let content = |call: RecordedRequest| call.json()["messages"][0]["content"].as_str().unwrap().parse().unwrap();
    upstream.seen().into_iter().map(content).collect()
}

/// Callers who wait, one every 50 ms.
async fn callers(app: &Arc<TestApp>, numbers: Range<usize>) -> JoinSet<(usize, Answer)> {
    let mut callers = JoinSet::new();
    for number in numbers {
        let app = app.clone();
        callers.spawn(async move { (number, app.chat_with(&numbered(number)).await) });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    callers
}

async fn all_are_served(callers: JoinSet<(usize, Answer)>) {
    for (number, answer) in callers.join_all().await {
        assert_eq!(answer.status, 200, "caller {number}: {}", answer.text());
    }
}

/// Checks that calls reached the provider within 1.5 s of their place in the order of arrival. A quarter may not: a grant whose
/// reply was late is given back, and made again behind the others.
fn is_in_order(upstream: &FakeUpstream) {
    let order = order_of(upstream);
    let bound = usize::try_from(scaled(Duration::from_millis(1_500)).as_millis() / 50).unwrap();
    let displaced = order.iter().enumerate().filter(|(at, number)| number.abs_diff(*at) > bound).count();
    assert!(displaced * 4 <= order.len(), "{displaced} displaced: {order:?}");
}

async fn patient_gateway(url: &str, upstream: &FakeUpstream, limit: &str, outage_requests: usize) -> Arc<TestApp> {
    let provider = format!("[providers.lab]\nbase_url = \"{}\"\n", upstream.base_url());
    let model = format!("[providers.lab.models.m]\nlimits = {{ {limit} }}\n");
    let app = TestApp::setup().env("REDIS_URL", url).file(&provider).file(&model);
    let app = app.env("TOLLFREE__QUEUE__MAX_WAIT_MS", 30_000).env("TOLLFREE_ADMIN_KEY", "the-admin-key");
    Arc::new(app.env("TOLLFREE__QUEUE__OUTAGE_REQUESTS", outage_requests).start().await)
}

const NO_LIMIT: &str = "rpm = 6000";

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_wait_stand_through_a_killed_redis() {
    let (mut redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let app = patient_gateway(&redis.url(), &upstream, NO_LIMIT, 1_000).await;
    redis.kill();
    let callers = callers(&app, 0..30).await;
    let impatient = Answer::of(app.chat_call(&numbered(0)).header("prefer", "wait=0")).await;
    assert_eq!(impatient.error().2, "ledger_unavailable");
    assert!(impatient.took < scaled(FAILS_WITHIN), "{:?}", impatient.took);
    let status = app.get("/v1/status").await.json();
    assert_eq!((&status["ledger"]["reachable"], &status["ledger"]["waiting"]), (&json!(false), &json!(30)), "{status}");
    assert!(status["ledger"]["awaySince"].is_string(), "{status}");
    let cause = status["ledger"]["awayCause"].as_str().unwrap();
    assert!(cause.to_lowercase().contains("refused"), "{cause}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.restart().await;
    let returned = Instant::now();
    all_are_served(callers).await;
    assert!(returned.elapsed() < scaled(RECOVERY * 2), "{:?}", returned.elapsed());
    let waited = eventually(Duration::from_secs(5), "the journal has the wait", async || {
        let requests = app.request("GET", "/admin/v1/requests?limit=50").bearer_auth("the-admin-key");
        let requests = Answer::of(requests).await.json();
        let waits: Vec<i64> =
            requests["data"].as_array()?.iter().filter_map(|r| r["ledger_wait_ms"].as_i64()).collect();
        (waits.len() >= 30).then_some(waits)
    })
    .await;
    assert!(waited.iter().all(|ms| *ms > 800), "{waited:?}");
    let status = app.get("/v1/status").await.json();
    assert_eq!(status["ledger"], json!({ "reachable": true, "waiting": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_suspended_for_five_seconds_costs_time_and_no_request() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = patient_gateway(&redis.url(), &upstream, NO_LIMIT, 1_000).await;
    let mut all = callers(&app, 0..5).await;
    redis.stop();
    let during = callers(&app, 5..95).await;
    redis.cont();
    let returned = Instant::now();
    all_are_served(during).await;
    assert!(returned.elapsed() < scaled(RECOVERY), "{:?}", returned.elapsed());
    while let Some(answer) = all.join_next().await {
        assert_eq!(answer.unwrap().1.status, 200);
    }
    is_in_order(&upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_for_redis_no_longer_than_it_wants_and_above_the_limit_the_oldest_stay() {
    let (mut redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = patient_gateway(&redis.url(), &upstream, NO_LIMIT, 3).await;
    redis.kill();
    let began = Instant::now();
    let short = Answer::of(app.chat_call(&numbered(0)).header("prefer", "wait=1")).await;
    assert_eq!((short.status, short.error().2.as_str()), (503, "ledger_unavailable"));
    assert!(began.elapsed() >= Duration::from_millis(950) && began.elapsed() < scaled(Duration::from_millis(1_500)));
    let oldest = callers(&app, 0..3).await;
    let newest = app.chat_with(&numbered(3)).await;
    assert_eq!(newest.status, 503, "{}", newest.text());
    assert!(newest.took < scaled(FAILS_WITHIN), "{:?}", newest.took);
    redis.restart().await;
    all_are_served(oldest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_this_replica_has_never_seen_waits_for_redis_too() {
    let (mut redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let other = patient_gateway(&redis.url(), &upstream, NO_LIMIT, 1_000).await;
    let create = other.request("POST", "/admin/v1/clients").bearer_auth("the-admin-key");
    let key = Answer::of(create.json(&json!({ "name": "ann" }))).await.json()["key"].as_str().unwrap().to_owned();
    let app = patient_gateway(&redis.url(), &upstream, NO_LIMIT, 1_000).await;
    redis.kill();
    let call = |key: &str, wait: &str| {
        let call = app.chat_call(&numbered(0)).bearer_auth(key).header("prefer", format!("wait={wait}"));
        Answer::of(call)
    };
    let impatient = call(&key, "0").await;
    assert_eq!(impatient.error().2, "ledger_unavailable", "{}", impatient.text());
    let return_of_redis = async {
        eventually(Duration::from_secs(5), "both are held", async || {
            let status = Answer::of(app.request("GET", "/v1/status").bearer_auth("the-admin-key")).await;
            (status.json()["ledger"]["waiting"] == 2).then_some(())
        })
        .await;
        redis.restart().await;
    };
    let never_made = call("sk-tf-abcdef-0123456789abcdefghijklmnopqrstuv", "20");
    let (known, unknown, ()) = tokio::join!(call(&key, "20"), never_made, return_of_redis);
    assert_eq!((known.status, unknown.status), (200, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_keeps_the_order_of_those_who_wait_for_room() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = patient_gateway(&redis.url(), &upstream, "rps = 3", 1_000).await;
    let callers = callers(&app, 0..20).await;
    redis.flush();
    all_are_served(callers).await;
    is_in_order(&upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_held_for_900_ms_refuse_no_request() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let proxy = ChaosProxy::to(redis.port()).await;
    let app = patient_gateway(&format!("redis://127.0.0.1:{}", proxy.port()), &upstream, NO_LIMIT, 1_000).await;
    let held = async {
        for _ in 0..2 {
            proxy.set(NetworkFault::Hold);
            tokio::time::sleep(Duration::from_millis(900)).await;
            proxy.set(NetworkFault::None);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let impatient = async {
        let mut callers = JoinSet::new();
        for number in 0..30 {
            let app = app.clone();
            callers.spawn(async move {
                let call = app.chat_call(&numbered(number)).header("prefer", "wait=0");
                (number, Answer::of(call).await)
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        all_are_served(callers).await;
    };
    let patient = async { all_are_served(callers(&app, 0..60).await).await };
    tokio::join!(held, impatient, patient);
}
