//! Redis behind Sentinel and as a Cluster: the primary is found, lost and found again.

use std::time::Duration;

use tokio::time::Instant;
use tollfree::{
    ledger::{engine::EngineError, redis::RedisEngine},
    shutdown::Tasks,
};

use crate::support::{
    eventually,
    process::free_port,
    redis_shapes::{Cluster, Node, Shape},
};

const BACK_WITHIN: Duration = Duration::from_secs(1);

async fn count(redis: &RedisEngine) -> Result<(), EngineError> {
    redis.run_text("return redis.call('INCR', KEYS[1])", &["{t}n".into()], &[]).await.map(drop)
}

async fn until_back(redis: &RedisEngine) -> Duration {
    let start = Instant::now();
    eventually(Duration::from_secs(20), "calls flow", async || count(redis).await.ok()).await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel_the_promoted_replica_is_found() {
    let primary = Node::start(&[]);
    primary.until_up().await;
    let replica = Node::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    primary.until("the replica is in step", &["INFO", "replication"], "state=online").await;
    let port = free_port();
    let file = format!(
        "sentinel monitor mymaster 127.0.0.1 {} 1\nsentinel down-after-milliseconds mymaster 300\n\
         sentinel failover-timeout mymaster 2000\n",
        primary.port
    );
    let sentinel = Node::with(port, &["--sentinel"], Some(&file));
    sentinel
        .until("Sentinel knows the replica", &["SENTINEL", "replicas", "mymaster"], &replica.port.to_string())
        .await;

    let tasks = Tasks::new();
    // A Sentinel that is away is no hindrance.
    let url = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/mymaster", free_port(), sentinel.port);
    let redis = RedisEngine::connect(url.parse().unwrap(), &tasks);
    until_back(&redis).await;
    assert_eq!(primary.ask(&["GET", "{t}n"]), "1");

    replica.until("the count has been copied", &["GET", "{t}n"], "1").await;
    let Node { mut process, .. } = primary;
    process.kill();
    assert!(matches!(count(&redis).await, Err(EngineError::Unreachable(_))));
    replica.until_primary().await;
    let took = until_back(&redis).await;
    assert!(took < BACK_WITHIN, "{took:?}");
    assert_eq!(replica.ask(&["GET", "{t}n"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_the_owner_of_the_slot_is_found_and_its_heir() {
    let mut cluster = Cluster::start("t", 1_000).await;
    let tasks = Tasks::new();
    let redis = RedisEngine::connect(cluster.url().parse().unwrap(), &tasks);
    until_back(&redis).await;
    assert_eq!(cluster.nodes[cluster.owner].ask(&["GET", "{t}n"]), "1");
    // Two scripts of one pair go to the owner too, and a second call needs no redirection.
    assert!(count(&redis).await.is_ok());

    cluster.kill_primary();
    assert!(matches!(count(&redis).await, Err(EngineError::Unreachable(_))));
    cluster.until_replaced().await;
    cluster.bystander().until("the cluster is whole again", &["CLUSTER", "INFO"], "cluster_state:ok").await;
    let took = until_back(&redis).await;
    assert!(took < BACK_WITHIN, "{took:?}");
    assert_eq!(cluster.nodes[cluster.heir].ask(&["GET", "{t}n"]), "3");
    assert_eq!(cluster.nodes[cluster.owner].ask(&["PING"]), "", "it was the heir that answered");
}
