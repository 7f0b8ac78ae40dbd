//! Redis behind Sentinel and as a Cluster: the engine finds the primary, loses it and finds its successor.

use std::time::Duration;

use tokio::time::Instant;
use tollfree::{
    ledger::{engine::EngineError, redis::RedisEngine},
    shutdown::Tasks,
};

use crate::support::{
    eventually,
    process::free_port,
    replicated_redis::{Cluster, Node, ReplicatedRedis},
    scaled,
};

const RECOVERY: Duration = Duration::from_secs(1);

async fn count(redis: &RedisEngine) -> Result<(), EngineError> {
    redis.run_text("return redis.call('INCR', KEYS[1])", &["{t}n".into()], &[]).await.map(drop)
}

async fn until_up(redis: &RedisEngine) -> Duration {
    let start = Instant::now();
    eventually(Duration::from_secs(20), "calls succeed again", async || count(redis).await.ok()).await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel_the_engine_follows_to_the_promoted_replica() {
    let primary = Node::start(&[]);
    primary.until_up().await;
    let replica = Node::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    primary.until("the replica is in sync", &["INFO", "replication"], "state=online").await;
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
    // The first Sentinel of the URL does not exist.
    let url = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/mymaster", free_port(), sentinel.port);
    let redis = RedisEngine::connect(url.parse().unwrap(), "t", &tasks);
    until_up(&redis).await;
    assert_eq!(primary.query(&["GET", "{t}n"]), "1");

    replica.until("the count has been copied", &["GET", "{t}n"], "1").await;
    let Node { mut process, .. } = primary;
    process.kill();
    assert!(matches!(count(&redis).await, Err(EngineError::Unreachable(_))));
    replica.until_primary().await;
    let took = until_up(&redis).await;
    assert!(took < scaled(RECOVERY), "{took:?}");
    assert_eq!(replica.query(&["GET", "{t}n"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_the_engine_follows_to_the_owner_of_the_slot_and_its_replica() {
    let mut cluster = Cluster::start("t", 1_000).await;
    let tasks = Tasks::new();
    let redis = RedisEngine::connect(cluster.url().parse().unwrap(), "t", &tasks);
    until_up(&redis).await;
    assert_eq!(cluster.nodes[cluster.owner].query(&["GET", "{t}n"]), "1");
    assert!(count(&redis).await.is_ok(), "the connection leads to the owner");

    cluster.kill_primary();
    assert!(matches!(count(&redis).await, Err(EngineError::Unreachable(_))));
    cluster.until_replaced().await;
    cluster.other_node().until("the cluster is up again", &["CLUSTER", "INFO"], "cluster_state:ok").await;
    let took = until_up(&redis).await;
    assert!(took < scaled(RECOVERY), "{took:?}");
    assert_eq!(cluster.nodes[cluster.replica].query(&["GET", "{t}n"]), "3");
    assert_eq!(cluster.nodes[cluster.owner].query(&["PING"]), "", "the former owner is down");
}
