//! A failing, slow or returning collector costs spans but no request, no latency and no memory.

use std::{fs, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::support::{
    app::{TestApp, hi},
    collector::Collector,
    eventually,
    fake_upstream::FakeUpstream,
    process::free_port,
    scaled,
};

fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn lines_with(app: &TestApp, words: &str) -> usize {
    app.log().lines().filter(|line| line.contains(words)).count()
}

/// Sends `rate` requests a second, as far as this machine keeps up. All must succeed. Returns the sorted latencies.
async fn load(app: &TestApp, rate: u32, lasting: Duration) -> Vec<Duration> {
    let apart = Duration::from_secs(1) / rate;
    let (begin, mut calls, lines) = (Instant::now(), JoinSet::new(), Arc::new(Semaphore::new(32)));
    let mut due = begin;
    while due < begin + lasting && begin.elapsed() < lasting {
        sleep_until(due).await;
        let line = lines.clone().acquire_owned().await.unwrap();
        let call = app.chat_call(&hi("lab/m"));
        calls.spawn(async move {
            let start = Instant::now();
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
            drop(line);
            start.elapsed()
        });
        due += apart;
    }
    let mut took = calls.join_all().await;
    took.sort_unstable();
    took
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// Compares a gateway with a hung collector to one without a collector, in alternating rounds of the same load.
async fn a_hung_collector_costs_nothing(rate: u32, round: Duration) {
    let (collector, upstream) = (Collector::hanging().await, FakeUpstream::start().await);
    let plain = TestApp::setup().env("LOG_LEVEL", "warn").lab("lab", &upstream).start().await;
    let setup = collector.attach(TestApp::setup()).env("LOG_LEVEL", "warn").lab("lab", &upstream);
    let setup = setup.env("OTEL_EXPORTER_OTLP_TIMEOUT", 1_000).env("OTEL_BSP_MAX_QUEUE_SIZE", 256);
    let hung = setup.env("OTEL_BLRP_MAX_QUEUE_SIZE", 64).start().await;
    // Fills the queues, which allocate memory once.
    load(&hung, rate, round).await;
    load(&plain, rate, round).await;
    let (before, plain_before) = (resident_kb(hung.pid()), resident_kb(plain.pid()));
    let (mut slow, mut usual) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        slow = slow.min(median(&load(&hung, rate, round).await));
        usual = usual.min(median(&load(&plain, rate, round).await));
    }
    // Without Redis both processes grow by their journal.
    let grew_by = |app: &TestApp, before| resident_kb(app.pid()).saturating_sub(before);
    let (grew, plain_grew) = (grew_by(&hung, before), grew_by(&plain, plain_before));
    eprintln!(
        "half within {slow:?} with a hung collector, {usual:?} without, in their best rounds; {before} kB grew by {grew} kB, {plain_before} kB without by {plain_grew} kB"
    );
    assert!(slow < usual * 2 + Duration::from_millis(10), "{slow:?} against {usual:?}");
    assert!(grew < plain_grew + 8_192, "{grew} kB more, and {plain_grew} kB without");
    eventually(Duration::from_secs(15), "what was lost is counted", async || {
        let text = hung.get("/metrics").await.text();
        let lost =
            text.lines().find_map(|line| line.strip_prefix("tollfree_telemetry_dropped_total{signal=\"traces\"} "));
        lost.and_then(|n| n.parse::<f64>().ok()).filter(|n| *n > 0.0)
    })
    .await;
    assert_eq!(lines_with(&hung, "does not accept traces"), 1, "{}", hung.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_no_request_and_no_memory() {
    // `make test-long` runs a minute at full load.
    let long = std::env::var("TRIAL_SECONDS").is_ok();
    let (rate, seconds) = if long { (500, 20) } else { (50, 2) };
    a_hung_collector_costs_nothing(rate, Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn the_loss_and_the_return_of_a_collector_are_each_logged_once() {
    let (port, upstream) = (free_port(), FakeUpstream::start().await);
    let setup =
        TestApp::setup().lab("lab", &upstream).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"));
    let setup = setup.env("OTEL_BSP_SCHEDULE_DELAY", 30).env("OTEL_LOGS_EXPORTER", "none");
    let app = setup.env("OTEL_METRICS_EXPORTER", "none").start().await;
    let ask = async || {
        assert_eq!(app.chat("lab/m").await.status, 200);
        tokio::time::sleep(Duration::from_millis(60)).await;
    };
    eventually(Duration::from_secs(15), "it is noticed", async || {
        ask().await;
        (lines_with(&app, "does not accept traces") > 0).then_some(())
    })
    .await;
    for _ in 0..5 {
        ask().await;
    }
    assert_eq!(lines_with(&app, "does not accept traces"), 1, "{}", app.log());
    let collector = Collector::http_at(port).await;
    eventually(Duration::from_secs(15), "its return is noticed", async || {
        ask().await;
        (lines_with(&app, "accepts traces again") > 0).then_some(())
    })
    .await;
    ask().await;
    assert_eq!((lines_with(&app, "accepts traces again"), lines_with(&app, "does not accept traces")), (1, 1));
    collector.trace(&["POST /v1/chat/completions", "chat m"], |_| true).await;
}

#[tokio::test]
async fn a_hung_collector_does_not_delay_the_shutdown() {
    let (collector, upstream) = (Collector::hanging().await, FakeUpstream::start().await);
    let setup = collector.attach(TestApp::setup()).lab("lab", &upstream).env("TOLLFREE__SHUTDOWN__GRACE_MS", 0);
    let mut app = setup.start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let began = Instant::now();
    assert_eq!(app.process().terminate(Duration::from_secs(30)).await, 0);
    assert!(began.elapsed() < scaled(Duration::from_secs(15)), "{:?}", began.elapsed());
}
