//! The same fleet on a Redis Cluster and behind Sentinel; and what it costs when their primary dies in the middle of it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    fleet::{Crowd, Fleet, Tally, short, trial_time},
    replicas::{LIMIT, MISTRAL, only, rpm, sliding, told},
};
use crate::support::{
    eventually,
    redis_shapes::{Cluster, Sentineled, Shape},
};

/// The keys of the pool `default` carry this tag.
const TAG: &str = "default";
const NODE_TIMEOUT_MS: u32 = 2_000;
/// Refusals end this soon after the new primary's first answer: finding it, then the half second in which leases are repeated.
const BACK_WITHIN: Duration = Duration::from_secs(1);

async fn fleet<R: Shape>(redis: R) -> Fleet<R> {
    let profile = only("mistral", MISTRAL, rpm(LIMIT), "sliding");
    let limits = format!("limits = {{ rpm = {LIMIT}, tpm = \"none\" }}");
    let url = redis.url();
    Fleet::on(redis, &url, 4, profile, |setup, sim| told(setup, sim, "mistral", MISTRAL, &limits)).await
}

fn crowd() -> Crowd {
    Crowd::asking(100, short(&format!("mistral/{MISTRAL}")))
}

fn only_refusals(tally: &Tally) {
    assert!(tally.keys().all(|status| [200, 429, 503].contains(status)), "{tally:?}");
}

async fn is_held_and_used(redis: impl Shape) {
    let fleet = fleet(redis).await;
    let tally = fleet.until_over(&crowd(), trial_time()).await;
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    seen.was_held();
    seen.was_used(0.97, sliding(LIMIT, trial_time()));
    only_refusals(&tally);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_held_and_used_on_a_redis_cluster() {
    is_held_and_used(Cluster::start(TAG, NODE_TIMEOUT_MS).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_held_and_used_behind_sentinel() {
    is_held_and_used(Sentineled::start().await).await;
}

/// The crowd fills a window, the primary is killed, and a whole window follows, so that the minute around the failover is seen.
async fn survives_a_failover(redis: impl Shape) {
    let mut fleet = fleet(redis).await;
    let (callers, tally) = fleet.crowd(&crowd(), Duration::from_secs(100));
    tokio::time::sleep(Duration::from_secs(30)).await;

    let killed = Instant::now();
    fleet.redis.kill_primary();
    let replaced = fleet.redis.until_replaced().await;
    // Asked for directly: the crowd sleeps as long as it was told to.
    let model = format!("mistral/{MISTRAL}");
    eventually(Duration::from_secs(30), "replicas know their budget again", async || {
        let answer = fleet.apps[0].chat(&model).await;
        (answer.status != 503).then_some(())
    })
    .await;
    let back = Instant::now();
    eprintln!(
        "failover: {:?} without a primary, refusals for {:?} more, {:?} in all",
        replaced - killed,
        back.saturating_duration_since(replaced),
        back - killed
    );

    callers.join_all().await;
    let tally = tally.lock().unwrap().clone();
    eprintln!("callers got {tally:?}");
    only_refusals(&tally);
    assert!(back.saturating_duration_since(replaced) < BACK_WITHIN, "refusals went on for too long");
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    // Every replica lived and has repeated what the promoted one had not heard of: nothing is left for the provider to refuse.
    seen.was_held();
    assert!(seen.units >= LIMIT as f64 * 1.5, "it went on afterwards: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_a_redis_cluster_breaks_no_window() {
    survives_a_failover(Cluster::start(TAG, NODE_TIMEOUT_MS).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_behind_sentinel_breaks_no_window() {
    survives_a_failover(Sentineled::start().await).await;
}
