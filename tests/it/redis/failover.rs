//! Four replicas under load while the primary of their Redis dies: service resumes soon, and no window is exceeded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    realtime::{
        fleet::short,
        replicas::{LIMIT, MISTRAL},
        topologies::fleet,
    },
    support::{
        eventually,
        http::{self, Answer},
        replicated_redis::{Cluster, ReplicatedRedis, SentinelSetup},
        scaled,
    },
};

/// Bound on the outage after the new primary is up: finding it, and the half second in which leases are replayed.
const RECOVERY: Duration = Duration::from_secs(1);
const CALLERS: usize = 16;

/// The responses to all callers.
#[derive(Default)]
struct Tally {
    served: AtomicUsize,
    without_ledger: AtomicUsize,
    full: AtomicUsize,
    over: AtomicBool,
}

impl Tally {
    fn count(&self, status: u16) {
        match status {
            200 => &self.served,
            503 => &self.without_ledger,
            429 => &self.full,
            other => panic!("a caller received {other}"),
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// Kills the primary while callers fill the window. They continue until it is full.
async fn survives_failover(redis: impl ReplicatedRedis) {
    let mut fleet = fleet(redis).await;
    let (tally, body) = (Arc::new(Tally::default()), short(&format!("mistral/{MISTRAL}")));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (tally, body) = (tally.clone(), body(0));
        let (url, client) = (fleet.apps[number % fleet.apps.len()].url("/v1/chat/completions"), http::client());
        callers.spawn(async move {
            while !tally.over.load(Ordering::Relaxed) {
                let answer = Answer::of(client.post(&url).header("prefer", "wait=0").json(&body)).await;
                tally.count(answer.status);
                tokio::time::sleep(Duration::from_millis(if answer.status == 200 { 300 } else { 50 })).await;
            }
        });
    }
    let some = usize::try_from(LIMIT / 3).unwrap();
    let reached = async |count: usize| (tally.served.load(Ordering::Relaxed) >= count).then_some(());
    eventually(Duration::from_mins(2), "the window fills", async || reached(some).await).await;

    let killed = Instant::now();
    fleet.redis.kill_primary();
    let replaced = fleet.redis.until_replaced().await;
    let served = tally.served.load(Ordering::Relaxed);
    eventually(Duration::from_secs(30), "callers are served again", async || reached(served + 1).await).await;
    let back = Instant::now();
    let late = back.saturating_duration_since(replaced);
    eprintln!("failover: {:?} without a primary, {late:?} more without service", replaced - killed);

    // A slow machine may not fill the window in half a minute; it has seen the failover all the same.
    let enough = Instant::now() + Duration::from_secs(30);
    eventually(Duration::from_mins(1), "the window is full", async || {
        (tally.full.load(Ordering::Relaxed) >= 4 * CALLERS || Instant::now() > enough).then_some(())
    })
    .await;
    tally.over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let counts = [&tally.served, &tally.without_ledger, &tally.full].map(|count| count.load(Ordering::Relaxed));
    eprintln!("callers received {counts:?} times 200, 503, 429");
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    // Every replica survived and replayed the leases that the promoted node had missed, so the provider refused nothing.
    seen.was_held();
    if counts[2] > 0 {
        assert!(seen.most_in_any_span >= LIMIT as f64 * 0.95, "refused although there was room: {seen:?}");
    }
    assert!(late < scaled(RECOVERY), "callers were refused for {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failover_of_a_cluster_exceeds_no_window() {
    survives_failover(Cluster::start("default", 2_000).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinel_exceeds_no_window() {
    survives_failover(SentinelSetup::start().await).await;
}
