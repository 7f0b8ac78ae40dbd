//! Redis behind Sentinel and as a Cluster: real servers on loopback whose primary can be killed.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    eventually,
    process::{Process, free_port},
};

/// One redis-server.
pub(crate) struct Node {
    pub process: Process,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::with(free_port(), settings, None)
    }

    pub(crate) fn with(port: u16, settings: &[&str], file: Option<&str>) -> Self {
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

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The output of `redis-cli` for a command.
    pub(crate) fn query(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = std::process::Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until the output of a command contains `expected`.
    pub(crate) async fn until(&self, what: &str, words: &[&str], expected: &str) {
        eventually(Duration::from_secs(30), what, async || self.query(words).contains(expected).then_some(())).await;
    }

    pub(crate) async fn until_up(&self) {
        self.until("a node answers", &["PING"], "PONG").await;
    }

    pub(crate) async fn until_primary(&self) {
        self.until("the replica is promoted", &["INFO", "replication"], "role:master").await;
    }

    fn is_primary(&self) -> bool {
        self.query(&["INFO", "replication"]).contains("role:master")
    }
}

/// A Redis that replaces a lost primary without help.
pub(crate) trait ReplicatedRedis {
    fn url(&self) -> String;
    /// Kills the node that holds the test's keys with SIGKILL.
    fn kill_primary(&mut self);
    /// Returns when another node serves these keys.
    async fn until_replaced(&self) -> Instant;
}

/// A primary with two replicas, and three Sentinels.
pub(crate) struct SentinelSetup {
    pub nodes: Vec<Node>,
    pub sentinels: Vec<Node>,
}

/// As docs/redis.md recommends: a write needs a replica that keeps up, so that a failover loses little.
const IN_SYNC: [&str; 6] =
    ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2", "--repl-diskless-sync-delay", "0"];
const DOWN_AFTER_MS: u32 = 1_000;

impl SentinelSetup {
    pub(crate) async fn start() -> Self {
        let mut nodes = vec![Node::start(&IN_SYNC)];
        nodes[0].until_up().await;
        let primary = nodes[0].port.to_string();
        for _ in 0..2 {
            nodes.push(Node::start(&[&IN_SYNC[..], &["--replicaof", "127.0.0.1", &primary]].concat()));
        }
        nodes[0].until("both replicas are in sync", &["INFO", "replication"], "slave1:").await;
        nodes[0].until("both replicas are in sync", &["INFO", "replication"], "min_slaves_good_slaves:2").await;
        let file = format!(
            "sentinel monitor mymaster 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds mymaster {DOWN_AFTER_MS}\n\
             sentinel failover-timeout mymaster 5000\n"
        );
        let sentinels: Vec<Node> = (0..3).map(|_| Node::with(free_port(), &["--sentinel"], Some(&file))).collect();
        for sentinel in &sentinels {
            let words = ["SENTINEL", "master", "mymaster"];
            sentinel.until("a Sentinel knows the other two", &words, "num-other-sentinels\n2").await;
            sentinel.until("a Sentinel knows the replicas", &words, "num-slaves\n2").await;
        }
        Self { nodes, sentinels }
    }
}

impl ReplicatedRedis for SentinelSetup {
    fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinels.iter().map(Node::address).collect();
        format!("redis+sentinel://{}/mymaster", sentinels.join(","))
    }

    fn kill_primary(&mut self) {
        self.nodes[0].process.kill();
    }

    async fn until_replaced(&self) -> Instant {
        // After its promotion a replica accepts writes once the other replica follows it.
        let takes_writes = |node: &Node| {
            let info = node.query(&["INFO", "replication"]);
            info.contains("role:master") && info.contains("min_slaves_good_slaves:1")
        };
        let promoted = async || self.nodes[1..].iter().any(takes_writes).then_some(());
        eventually(Duration::from_mins(1), "a replica is promoted", promoted).await;
        Instant::now()
    }
}

/// Three masters, each with a replica.
pub(crate) struct Cluster {
    pub nodes: Vec<Node>,
    /// Index of the master that owns the slot of `{tag}`.
    pub owner: usize,
    /// Index of its replica.
    pub replica: usize,
}

impl Cluster {
    pub(crate) async fn start(tag: &str, timeout_ms: u32) -> Self {
        let timeout = timeout_ms.to_string();
        let settings =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout, "--repl-diskless-sync-delay", "0"];
        let node = |_| Node::start(&[&settings[..], &["--cluster-port", &free_port().to_string()]].concat());
        let nodes: Vec<Node> = (0..6).map(node).collect();
        for node in &nodes {
            node.until_up().await;
        }
        let hosts: Vec<String> = nodes.iter().map(Node::address).collect();
        let create = [&["--cluster", "create"], &hosts.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
        let made = nodes[0].query(&[&create[..], &["--cluster-replicas", "1", "--cluster-yes"]].concat());
        assert!(made.contains("All 16384 slots covered"), "{made}");
        for node in &nodes {
            node.until("the cluster is up", &["CLUSTER", "INFO"], "cluster_state:ok").await;
        }
        // Only the owner of the slot replies without a redirection.
        let owns = |node: &Node| node.query(&["GET", &format!("{{{tag}}}n")]).is_empty();
        let owner = nodes.iter().position(owns).unwrap();
        let replica = nodes.iter().position(|node| {
            node.query(&["INFO", "replication"]).contains(&format!("master_port:{}", nodes[owner].port))
        });
        nodes[owner].until("the replica is in sync", &["INFO", "replication"], "state=online").await;
        // A replica that never finished its first synchronisation is not promoted.
        nodes[replica.unwrap()]
            .until("the replica is synchronised", &["INFO", "replication"], "master_link_status:up")
            .await;
        Self { owner, replica: replica.unwrap(), nodes }
    }

    /// A node that is neither the owner nor its replica.
    pub(crate) fn other_node(&self) -> &Node {
        let other = |n: &usize| ![self.owner, self.replica].contains(n);
        &self.nodes[(0..6).find(other).unwrap()]
    }
}

impl ReplicatedRedis for Cluster {
    fn url(&self) -> String {
        format!("redis+cluster://{},{}", self.other_node().address(), self.nodes[self.owner].address())
    }

    fn kill_primary(&mut self) {
        self.nodes[self.owner].process.kill();
    }

    async fn until_replaced(&self) -> Instant {
        let replica = &self.nodes[self.replica];
        let promoted = async || {
            (replica.is_primary() && replica.query(&["CLUSTER", "INFO"]).contains("cluster_state:ok")).then_some(())
        };
        eventually(Duration::from_mins(1), "the replica is promoted", promoted).await;
        Instant::now()
    }
}
