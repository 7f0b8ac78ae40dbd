//! The main test of the replicas on a Redis Cluster and behind Sentinel.

use super::{
    fleet::{Crowd, Fleet, short, trial_time},
    replicas::{LIMIT, MISTRAL, only, rpm, sliding, with_limits},
};
use crate::support::replicated_redis::{Cluster, ReplicatedRedis, SentinelSetup};

/// Four replicas on this kind of Redis.
pub(crate) async fn fleet<R: ReplicatedRedis>(redis: R) -> Fleet<R> {
    let profile = only("mistral", MISTRAL, rpm(LIMIT), "sliding");
    let limits = format!("limits = {{ rpm = {LIMIT}, tpm = \"none\" }}");
    let url = redis.url();
    Fleet::on(redis, &url, 4, profile, |setup, sim| with_limits(setup, sim, "mistral", MISTRAL, &limits)).await
}

async fn is_held_and_used(redis: impl ReplicatedRedis) {
    let fleet = fleet(redis).await;
    let crowd = Crowd::new(100, short(&format!("mistral/{MISTRAL}")));
    let tally = fleet.until_over(&crowd, trial_time()).await;
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    seen.was_held();
    seen.was_used(0.97, sliding(LIMIT, trial_time()));
    assert!(tally.keys().all(|status| [200, 429, 503].contains(status)), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_held_and_used_on_a_redis_cluster() {
    is_held_and_used(Cluster::start("default", 2_000).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_held_and_used_behind_sentinel() {
    is_held_and_used(SentinelSetup::start().await).await;
}
