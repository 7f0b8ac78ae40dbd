//! A provider and a client that do what they can against the gateway, and what the others notice of it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};

use crate::support::{
    app::{TestApp, hi},
    fake_upstream::{FakeUpstream, Step, answer, content, stream_head, whole},
    http::{self, Answer},
    recording::FORM,
    redis_server::RedisServer,
    scaled,
};

const ADMIN: &str = "an-admin-key-of-the-trial";
const MIB: usize = 1 << 20;
/// MiB for bodies and for what is held of streams.
const MEMORY_MB: u64 = 96;
/// The most that the process may take, with everything else in it.
const MAX_RSS: u64 = 256 << 20;

/// `TRIAL_SECONDS`, at most two minutes, or a few seconds.
fn trial_time() -> Duration {
    let seconds = std::env::var("TRIAL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6).min(120))
}

/// An unoptimised build is some twenty times slower: it is attacked by fewer, and only an optimised one is held to times.
const IS_FAST: bool = !cfg!(debug_assertions);
/// Callers for each one that attacks an unoptimised build.
const TIMES: usize = if IS_FAST { 6 } else { 1 };
/// Callers of the flood.
const SENDERS: u64 = 50;
const HEALTH_BOUND: Duration = Duration::from_millis(100);

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn create_client(app: &TestApp, name: &str, limits: Value) -> String {
    let call = app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN);
    let made = Answer::of(call.json(&json!({ "name": name, "limits": limits }))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_owned()
}

/// Repeats a call in some tasks until the end. What it is answered does not matter.
fn attack<F: Future + Send>(
    tasks: &mut JoinSet<()>,
    count: usize,
    end: Instant,
    call: impl Fn() -> F + Clone + Send + 'static,
) {
    for _ in 0..count {
        let call = call.clone();
        tasks.spawn(async move {
            while timeout_at(end, call()).await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
}

/// Scripts of one provider, each behind a name of its own so that no breaker ends them all.
async fn hostile_provider() -> Vec<(&'static str, FakeUpstream)> {
    let large_event = format!("data: {{\"x\":\"{}", "x".repeat(7 * MIB));
    let scripts = [
        // An event that never ends, after a first content.
        (
            "unfinished",
            vec![stream_head(), Step::Bytes(content("a").into()), Step::Bytes(large_event.into()), Step::Hold],
        ),
        // Small events without an end.
        ("endless", vec![stream_head(), Step::Endless(content(&"word ".repeat(200)).repeat(40).into())]),
        // Large events without an end.
        ("large", vec![stream_head(), Step::Endless(content(&"y".repeat(5 * MIB)).into())]),
        // Blanks and comments, and no content.
        ("blank", vec![stream_head(), Step::Endless(": nothing\n\n".repeat(4_096).into())]),
        // As large as a response may be.
        ("whole", whole(200, &answer(&"z".repeat(15 * MIB)))),
    ];
    let mut all = Vec::new();
    for (name, script) in scripts {
        let upstream = FakeUpstream::start().await;
        upstream.always(script);
        all.push((name, upstream));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_and_one_client_take_a_bounded_part_of_the_gateway() {
    let (good, hostile) = (FakeUpstream::start().await, hostile_provider().await);
    let setup = TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN).env("TOLLFREE__LIMITS__MEMORY_MB", MEMORY_MB);
    let setup = setup.env("LOG_LEVEL", "warn").lab("good", &good);
    let app = hostile.iter().fold(setup, |setup, (name, upstream)| setup.lab(name, upstream)).start().await;
    let app = Arc::new(app);
    let (ann, eve) = (create_client(&app, "ann", json!({})).await, create_client(&app, "eve", json!({})).await);
    let end = Instant::now() + trial_time();
    let (mut tasks, client) = (JoinSet::new(), http::client());
    let post = |path: &str, body: Value| {
        let (client, url, eve) = (client.clone(), app.url(path), eve.clone());
        move || client.post(&url).bearer_auth(&eve).json(&body).send()
    };
    // Read to the end, or held and not read.
    let reads = |path: &str, body: Value| {
        let call = post(path, body);
        move || {
            let sent = call();
            async move {
                let Ok(reply) = sent.await else { return };
                let mut bytes = reply.bytes_stream();
                while bytes.next().await.is_some_and(|bytes| bytes.is_ok()) {}
            }
        }
    };
    let holds = |path: &str, body: Value| {
        let call = post(path, body);
        move || {
            let sent = call();
            async move {
                let reply = sent.await;
                if reply.is_ok_and(|reply| reply.status() == 200) {
                    sleep(Duration::from_secs(4)).await;
                }
            }
        }
    };
    let streamed = |model: &str| json!({ "model": model, "messages": hi(model)["messages"], "stream": true });
    attack(&mut tasks, 4 * TIMES, end, holds("/v1/chat/completions", streamed("unfinished/m")));
    attack(&mut tasks, 4 * TIMES, end, holds("/v1/chat/completions", streamed("large/m")));
    attack(
        &mut tasks,
        TIMES,
        end,
        reads("/v1/responses", json!({ "model": "endless/m", "input": "hi", "stream": true })),
    );
    attack(
        &mut tasks,
        TIMES,
        end,
        reads("/v1/messages", {
            json!({ "model": "endless/m", "max_tokens": 9, "messages": hi("m")["messages"], "stream": true })
        }),
    );
    attack(&mut tasks, TIMES, end, reads("/v1/chat/completions", streamed("blank/m")));
    attack(&mut tasks, TIMES, end, reads("/v1/chat/completions", hi("whole/m")));
    // Bodies that are large, and bodies and forms that do not end.
    let large = json!({ "model": "good/m", "messages": [{ "role": "user", "content": "w".repeat(6 * MIB) }] });
    attack(&mut tasks, 1, end, reads("/v1/chat/completions", large));
    for (path, kind, count) in
        [("/v1/chat/completions", "application/json", 40), ("/v1/audio/transcriptions", FORM, 20)]
    {
        let (client, url, eve) = (client.clone(), app.url(path), eve.clone());
        attack(&mut tasks, count, end, move || {
            let piece = Ok::<_, std::io::Error>(vec![b' '; 4 * MIB]);
            let body = reqwest::Body::wrap_stream(stream::iter([piece]).chain(stream::pending()));
            client.post(&url).bearer_auth(&eve).header("content-type", kind).body(body).send()
        });
    }
    let (mut most, mut slowest, mut served) = (0, Duration::ZERO, 0);
    while Instant::now() < end {
        let health = app.get("/healthz").await;
        let own = Answer::of(app.chat_call(&hi("good/m")).bearer_auth(&ann)).await;
        assert_eq!((health.status, own.status), (200, 200), "{}", own.text());
        (most, slowest, served) = (most.max(memory(app.pid())), slowest.max(health.took), served + 1);
        sleep(Duration::from_millis(20)).await;
    }
    tasks.shutdown().await;
    eprintln!("{served} requests of the other client; {} MiB at most; /healthz took {slowest:?} at most", most >> 20);
    assert!(served > 0);
    assert!(most < MAX_RSS, "{} MiB", most >> 20);
    assert!(!IS_FAST || slowest < scaled(HEALTH_BOUND), "{slowest:?}");
}

/// Calls of scripts at Redis so far.
fn scripts_run(redis: &RedisServer) -> u64 {
    let text = redis.command(&["INFO", "commandstats"]);
    let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    text.lines().filter(|line| line.contains("evalsha")).filter_map(calls).sum()
}

/// The longest of the 99 % that were fastest.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// Sends the requests of one client one after another, and returns how long each took. All are served.
async fn serve(app: &TestApp, key: &str, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < until || times.is_empty() {
        let reply = Answer::of(app.chat_call(&hi("good/m")).bearer_auth(key)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        times.push(reply.took);
        sleep(Duration::from_millis(10)).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_requests_costs_the_others_nothing() {
    let per_second: u64 = if IS_FAST { 5_000 } else { 200 };
    let (redis, good) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN).env("LOG_LEVEL", "warn").redis(&redis);
    let app = Arc::new(setup.lab("good", &good).start().await);
    let (ann, eve) =
        (create_client(&app, "ann", json!({})).await, create_client(&app, "eve", json!({ "rpd": 1 })).await);
    assert_eq!(Answer::of(app.chat_call(&hi("good/m")).bearer_auth(&eve)).await.status, 200);
    let time = trial_time().min(Duration::from_mins(1));
    let before = serve(&app, &ann, Instant::now() + time / 3).await;
    let end = Instant::now() + time;
    let (mut tasks, refused, is_over) = (JoinSet::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (calls_before, begun) = (scripts_run(&redis), Instant::now());
    for _ in 0..SENDERS {
        let (client, url, eve) = (http::client(), app.url("/v1/chat/completions"), eve.clone());
        let (refused, is_over) = (refused.clone(), is_over.clone());
        tasks.spawn(async move {
            let mut pace =
                interval(Duration::from_secs(1) * u32::try_from(SENDERS).unwrap() / u32::try_from(per_second).unwrap());
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                pace.tick().await;
                let reply = Answer::of(client.post(&url).bearer_auth(&eve).json(&hi("good/m"))).await;
                assert_eq!(reply.error().2, "client_quota_exceeded", "{}", reply.text());
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let during = serve(&app, &ann, end).await;
    let (took, calls) = (begun.elapsed(), scripts_run(&redis) - calls_before);
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let (count, served) = (refused.load(Ordering::Relaxed), during.len() as u64);
    let (before, during) = (p99(before), p99(during));
    eprintln!(
        "{count} refused in {took:?}, {calls} calls of scripts; p99 of the other client {before:?}, then {during:?}"
    );
    assert!(count > 100, "{count} refused beside {served}");
    // Each request that is served takes a few calls, and the gateway some for itself; refusals take 20 a second.
    let most = served * 3 + (took.as_secs() + 2) * 60;
    assert!(calls < most, "{calls} calls of scripts for {served} requests beside {count} refused, at most {most}");
    assert!(!IS_FAST || during < before * 2 + scaled(Duration::from_millis(50)), "{before:?}, then {during:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_a_session_that_does_not_exist_costs_the_store_a_few_calls() {
    let (redis, good) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN).env("LOG_LEVEL", "warn").redis(&redis);
    let app = setup.lab("good", &good).start().await;
    let mut wrong = create_client(&app, "eve", json!({})).await;
    let last = if wrong.pop() == Some('a') { 'b' } else { 'a' };
    wrong.push(last);
    let sent: u64 = 400;
    for (name, value) in [("authorization", format!("Bearer {wrong}")), ("cookie", "tf_session=made-up".to_owned())] {
        let (calls_before, begun) = (scripts_run(&redis), Instant::now());
        for _ in 0..sent {
            let reply = Answer::of(app.request("GET", "/v1/models").header(name, &value)).await;
            assert_eq!(reply.status, 401, "{name}: {}", reply.text());
        }
        // One call a second, and the gateway's own.
        let (calls, most) = (scripts_run(&redis) - calls_before, (begun.elapsed().as_secs() + 2) * 40);
        eprintln!("{name}: {calls} calls of scripts for {sent} requests in {:?}", begun.elapsed());
        assert!(calls < most, "{name}: {calls} calls of scripts for {sent} requests, at most {most}");
    }
}
