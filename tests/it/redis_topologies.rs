//! Redis behind Sentinel and as a Cluster: the primary is found, lost and found again.

use std::{path::Path, time::Duration};

use secrecy::SecretString;
use tokio::time::Instant;
use tollfree::{
    ledger::{host::HostError, redis::Redis},
    shutdown::Tasks,
};

use crate::support::{
    eventually,
    process::{Process, free_port},
};

const BACK_WITHIN: Duration = Duration::from_secs(1);

/// One redis-server with settings of its own.
struct Node {
    process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Node {
    fn start(settings: &[&str]) -> Self {
        Self::with(free_port(), settings, None)
    }

    fn with(port: u16, settings: &[&str], file: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = port.to_string();
        let mut args = Vec::new();
        if let Some(file) = file {
            std::fs::write(folder.path().join("redis.conf"), file).unwrap();
            args.push("./redis.conf");
        }
        args.extend(["--port", &text, "--bind", "127.0.0.1", "--save", ""]);
        args.extend(settings);
        let log = folder.path().join("redis.log");
        let process =
            Process::start("redis-server", Path::new("redis-server"), &args, [("LC_ALL", "C")], folder.path(), &log);
        Self { process, port, _folder: folder }
    }

    /// What `redis-cli` prints for a command.
    fn ask(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let asked = std::process::Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }

    async fn until(&self, what: &str, words: &[&str], says: &str) {
        eventually(Duration::from_secs(30), what, async || self.ask(words).contains(says).then_some(())).await;
    }

    async fn until_up(&self) {
        self.until("a node answers", &["PING"], "PONG").await;
    }

    async fn until_primary(&self) {
        self.until("the replica is promoted", &["INFO", "replication"], "role:master").await;
    }
}

async fn count(redis: &Redis) -> Result<(), HostError> {
    redis.run_text("return redis.call('INCR', KEYS[1])", &["{t}n".to_owned()], &[]).await.map(drop)
}

async fn until_back(redis: &Redis) -> Duration {
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
    let redis = Redis::connect(&SecretString::from(url), &tasks).unwrap();
    until_back(&redis).await;
    assert_eq!(primary.ask(&["GET", "{t}n"]), "1");

    replica.until("the count has been copied", &["GET", "{t}n"], "1").await;
    let Node { mut process, .. } = primary;
    process.kill();
    assert!(matches!(count(&redis).await, Err(HostError::Unreachable(_))));
    replica.until_primary().await;
    let took = until_back(&redis).await;
    assert!(took < BACK_WITHIN, "{took:?}");
    assert_eq!(replica.ask(&["GET", "{t}n"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_the_owner_of_the_slot_is_found_and_its_heir() {
    let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let node = |_| Node::start(&[&settings[..], &["--cluster-port", &free_port().to_string()]].concat());
    let mut nodes: Vec<Node> = (0..6).map(node).collect();
    for node in &nodes {
        node.until_up().await;
    }
    let at = |node: &Node| format!("127.0.0.1:{}", node.port);
    let hosts: Vec<String> = nodes.iter().map(at).collect();
    let create = [&["--cluster", "create"], &hosts.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let made = nodes[0].ask(&[&create[..], &["--cluster-replicas", "1", "--cluster-yes"]].concat());
    assert!(made.contains("All 16384 slots covered"), "{made}");
    for node in &nodes {
        node.until("the cluster is up", &["CLUSTER", "INFO"], "cluster_state:ok").await;
    }
    // Whoever owns the slot redirects nobody.
    let owns = |node: &Node| node.ask(&["GET", "{t}n"]).is_empty();
    let owner = nodes.iter().position(owns).unwrap();
    let heir = nodes
        .iter()
        .position(|node| node.ask(&["INFO", "replication"]).contains(&format!("master_port:{}", nodes[owner].port)));
    let heir = heir.unwrap();
    nodes[owner].until("the heir is in step", &["INFO", "replication"], "state=online").await;

    let tasks = Tasks::new();
    let seed = (0..6).find(|n| ![owner, heir].contains(n)).unwrap();
    let url = format!("redis+cluster://{},{}", at(&nodes[seed]), at(&nodes[owner]));
    let redis = Redis::connect(&SecretString::from(url), &tasks).unwrap();
    until_back(&redis).await;
    assert_eq!(nodes[owner].ask(&["GET", "{t}n"]), "1");
    // Two scripts of one pair go to the owner too, and a second call needs no redirection.
    assert!(count(&redis).await.is_ok());

    nodes[owner].process.kill();
    assert!(matches!(count(&redis).await, Err(HostError::Unreachable(_))));
    nodes[heir].until_primary().await;
    nodes[seed].until("the cluster is whole again", &["CLUSTER", "INFO"], "cluster_state:ok").await;
    let took = until_back(&redis).await;
    assert!(took < BACK_WITHIN, "{took:?}");
    assert_eq!(nodes[heir].ask(&["GET", "{t}n"]), "3");
    assert_eq!(nodes[owner].ask(&["PING"]), "", "it was the heir that answered");
}
