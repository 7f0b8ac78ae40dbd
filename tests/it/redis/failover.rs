//! Four replicas under load while the primary of their Redis dies: how long nobody is served, and that no window breaks.

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
        redis_shapes::{Cluster, Sentineled, Shape},
    },
};

/// Refusals end this soon after the new primary's first answer: finding it, then the half second in which leases are repeated.
const BACK_WITHIN: Duration = Duration::from_secs(1);
const CALLERS: usize = 16;

/// What callers got.
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
            other => panic!("a caller got {other}"),
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// Callers have begun to fill the window when the primary dies; then they go on, at once and without a rest, until it is full.
async fn survives(redis: impl Shape) {
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
    eprintln!("failover: {:?} without a primary, {late:?} more without an answer", replaced - killed);

    // A machine that is too busy to fill it in half a minute has seen the failover, too.
    let enough = Instant::now() + Duration::from_secs(30);
    eventually(Duration::from_mins(1), "the window is full", async || {
        (tally.full.load(Ordering::Relaxed) >= 4 * CALLERS || Instant::now() > enough).then_some(())
    })
    .await;
    tally.over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let told = [&tally.served, &tally.without_ledger, &tally.full].map(|count| count.load(Ordering::Relaxed));
    eprintln!("callers got {told:?} of 200, 503, 429");
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    // Every replica lived and has repeated what the promoted node had not heard of: nothing is left for the provider to refuse.
    seen.was_held();
    if told[2] > 0 {
        assert!(seen.most_in_any_span >= LIMIT as f64 * 0.95, "a refusal, and yet there was room: {seen:?}");
    }
    assert!(late < BACK_WITHIN, "refusals went on for {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_redis_cluster_breaks_no_window() {
    survives(Cluster::start("default", 2_000).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel_breaks_no_window() {
    survives(Sentineled::start().await).await;
}
