//! Keeps one connection to the node that holds our keys: finds the node, checks it and replaces a broken connection.
//!
//! All calls share this multiplexed connection: calls made at the same time travel in one packet, and a settle sent after
//! an admit runs after it. Callers never connect; without a connection they fail immediately.
//!
//! The ledger logs outages; here they are debug messages.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use deadpool_redis::Pool;
use futures_util::{
    StreamExt,
    future::{FutureExt, select_ok},
    stream::FuturesUnordered,
};
use parking_lot::Mutex;
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, warn};

use super::{error_class::ErrorClass, pool, rights, tls, without_time_limits};
use crate::{
    config::{Address, RedisUrl, Topology},
    ledger::keys::Key,
};

/// Callers wait at most this long for the first attempt to connect.
pub(super) const CONNECTION_WAIT: Duration = Duration::from_millis(100);
/// Time limit of one attempt to find the node and connect to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// While attempts get no answer, another one starts beside them after this time: a packet sent into a dead network is
/// repeated too late, and an attempt at a suspended server is answered as soon as that continues.
const NEXT_ATTEMPT: Duration = Duration::from_millis(500);
/// Attempts at the same time.
const MAX_ATTEMPTS: usize = 4;
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Pause after a rejected password. More attempts would only fill the server's security log.
const REJECTED_PAUSE: Duration = Duration::from_secs(1);
/// At most this many causes are logged until the first connection.
const MAX_CAUSES: usize = 8;
/// Callers wait this long for the first attempt after a failure before they receive an error.
const GRACE: Duration = Duration::from_millis(50);

#[derive(Clone)]
enum State {
    /// The first attempt since the start or since the last failure is running.
    Connecting,
    Up(Connection),
    Down(Arc<str>),
}

/// A connection and the number of replies received on it, which shows that it is alive.
#[derive(Clone)]
pub(super) struct Link {
    pub(crate) multiplexed: MultiplexedConnection,
    pub(crate) replies: Arc<AtomicU64>,
}

impl Link {
    pub(crate) fn new(multiplexed: MultiplexedConnection) -> Self {
        Self { multiplexed, replies: Arc::default() }
    }
}

/// A connection that has answered.
#[derive(Clone)]
pub(super) struct Connection {
    pub(crate) link: Link,
    pub(crate) node: Arc<Node>,
    /// Number of this shared connection. Connections derived from it carry the same number and end with it.
    pub(crate) generation: u64,
}

/// The server behind the shared connection.
pub(super) struct Node {
    pub(crate) info: ConnectionInfo,
    pub(crate) pool: Pool,
}

/// The node of the current connection; `None` before the first one.
pub(super) type CurrentNode = watch::Receiver<Option<Arc<Node>>>;

/// A call's report that its connection cannot be used any more.
struct Failure {
    why: String,
    /// The first key of the call. The next connection must be able to write it.
    key: Option<Key>,
}

/// The callers' side of the connection that all calls share.
pub(super) struct SharedConnection {
    state: Arc<watch::Sender<State>>,
    node: CurrentNode,
    failures: mpsc::UnboundedSender<Failure>,
}

impl SharedConnection {
    pub(crate) fn node(&self) -> CurrentNode {
        self.node.clone()
    }

    /// The current connection. While a first attempt to connect is running, waits for it until `deadline` at most.
    pub(crate) async fn get(&self, deadline: Instant) -> Result<Connection, String> {
        match &*self.state.borrow() {
            State::Up(connection) => return Ok(connection.clone()),
            State::Down(why) => return Err(why.to_string()),
            State::Connecting => {}
        }
        let mut state = self.state.subscribe();
        let settled = timeout_at(deadline, state.wait_for(|state| !matches!(state, State::Connecting))).await;
        match settled.as_ref().map(|state| state.as_deref()) {
            Ok(Ok(State::Up(connection))) => Ok(connection.clone()),
            Ok(Ok(State::Down(why))) => Err(why.to_string()),
            _ => Err("still connecting".to_owned()),
        }
    }

    /// Withdraws a connection from all callers and has it replaced, unless that has happened already.
    pub(crate) fn report_failure(&self, connection: &Connection, why: &str, key: Option<&Key>) {
        let withdrawn = self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Up(current) if current.generation == connection.generation);
            if is_current {
                *state = State::Connecting;
            }
            is_current
        });
        if withdrawn {
            // The reconnector ends only at shutdown.
            let _ = self.failures.send(Failure { why: why.to_owned(), key: key.cloned() });
        }
    }
}

/// The task that opens the shared connection and replaces it after each failure.
pub(super) struct Reconnector {
    url: RedisUrl,
    state: Arc<watch::Sender<State>>,
    failures: mpsc::UnboundedReceiver<Failure>,
    /// A key whose call met an outage. A new connection must be able to write it.
    probe_key: Option<Key>,
    /// A key of the pool, for which a new connection must have the rights.
    pool_key: Key,
    /// The Cluster node used last, which the URL may not contain.
    last_owner: Mutex<Option<Address>>,
    node: watch::Sender<Option<Arc<Node>>>,
}

struct Connected {
    multiplexed: MultiplexedConnection,
    node: Arc<Node>,
}

pub(super) fn shared_connection(url: RedisUrl, pool_key: Key) -> (SharedConnection, Reconnector) {
    let state = Arc::new(watch::Sender::new(State::Connecting));
    let (report, failures) = mpsc::unbounded_channel();
    let (set_node, node) = watch::channel(None);
    let shared = SharedConnection { state: Arc::clone(&state), node, failures: report };
    let last_owner = Mutex::new(None);
    (shared, Reconnector { url, state, failures, probe_key: None, pool_key, last_owner, node: set_node })
}

/// Why an attempt to connect failed.
enum ConnectError {
    Failed(String),
    /// The server rejected the user or the password.
    Rejected(String),
    /// Another Cluster node owns the slot.
    Moved(Address),
}

impl Reconnector {
    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        let mut was_down = false;
        // Until the first connection, causes are logged here: nothing else has noticed an outage yet.
        let mut causes = Some(Vec::new());
        for generation in 1.. {
            let Connected { multiplexed, node } = self.connect(&mut was_down, &mut causes).await;
            causes = None;
            if generation == 1 {
                check_settings(multiplexed.clone()).await;
            }
            if generation == 1 || was_down {
                debug!("Connected to Redis");
            }
            was_down = false;
            self.node.send_replace(Some(Arc::clone(&node)));
            self.state.send_replace(State::Up(Connection { link: Link::new(multiplexed), node, generation }));
            let Some(failure) = self.failures.recv().await else { return };
            debug!("Closed a connection to Redis: {}", failure.why);
            self.probe_key = failure.key.or(self.probe_key);
        }
    }

    /// Tries until it has a connection. Callers receive an error as soon as the first attempt fails or takes long.
    async fn connect(&self, was_down: &mut bool, causes: &mut Option<Vec<String>>) -> Connected {
        let mut attempts = FuturesUnordered::new();
        let mut next_attempt = pin!(sleep(GRACE));
        loop {
            if attempts.is_empty() {
                attempts.push(timeout(CONNECT_TIMEOUT, self.attempt()));
            }
            let outcome = tokio::select! {
                Some(outcome) = attempts.next() => outcome,
                () = &mut next_attempt => {
                    next_attempt.as_mut().reset(Instant::now() + NEXT_ATTEMPT);
                    // The grace of the first attempt is over too soon for a second one.
                    if *was_down && attempts.len() < MAX_ATTEMPTS {
                        attempts.push(timeout(CONNECT_TIMEOUT, self.attempt()));
                    }
                    self.set_down("no answer".to_owned(), was_down);
                    continue;
                }
            };
            let (why, pause) = match outcome {
                Ok(Ok(connected)) => return connected,
                Ok(Err(ConnectError::Failed(why))) => (why, RETRY_PAUSE),
                Ok(Err(ConnectError::Rejected(why))) => {
                    attempts.clear();
                    (why, REJECTED_PAUSE)
                }
                Ok(Err(ConnectError::Moved((host, port)))) => {
                    (format!("{host}:{port} owns the slot and redirects to another node"), RETRY_PAUSE)
                }
                Err(_) => ("no answer".to_owned(), Duration::ZERO),
            };
            if let Some(causes) = causes.as_mut().filter(|causes| causes.len() < MAX_CAUSES && !causes.contains(&why)) {
                warn!("Redis at REDIS_URL has not been reached yet: {why}");
                causes.push(why.clone());
            }
            self.set_down(why, was_down);
            if attempts.is_empty() {
                sleep(pause).await;
                next_attempt.as_mut().reset(Instant::now() + NEXT_ATTEMPT);
            }
        }
    }

    fn set_down(&self, why: String, was_down: &mut bool) {
        if !*was_down {
            *was_down = true;
            debug!("Redis is unreachable: {why}");
        }
        self.state.send_replace(State::Down(why.into()));
    }

    /// Finds the node that serves us and opens a connection that has answered.
    async fn attempt(&self) -> Result<Connected, ConnectError> {
        match &self.url.topology {
            Topology::Single => self.open(&self.url.addresses[0]).await,
            Topology::Socket { path } => self.open_at(ConnectionAddr::Unix(path.clone()), None).await,
            Topology::Sentinel { master } => {
                let replies = self.url.addresses.iter().map(|sentinel| self.ask_sentinel(sentinel, master).boxed());
                let (primary, _) = select_ok(replies).await?;
                self.open(&primary).await
            }
            Topology::Cluster => {
                let mut nodes = self.url.addresses.clone();
                nodes.extend(self.last_owner.lock().clone().filter(|last| !nodes.contains(last)));
                let attempts = nodes.iter().map(|node| self.open_owner(node).boxed());
                let ((connected, owner), _) = select_ok(attempts).await?;
                *self.last_owner.lock() = Some(owner);
                Ok(connected)
            }
        }
    }

    /// Connects to a Cluster node, or to the owner of our slot if that node redirects there.
    async fn open_owner(&self, node: &Address) -> Result<(Connected, Address), ConnectError> {
        match self.open(node).await {
            Ok(connected) => Ok((connected, node.clone())),
            Err(ConnectError::Moved(owner)) => Ok((self.open(&owner).await?, owner)),
            Err(error) => Err(error),
        }
    }

    async fn open(&self, node: &Address) -> Result<Connected, ConnectError> {
        self.open_at(self.server_address(node), Some(node)).await
    }

    /// Connects and checks that the node serves us: that it reads, and also writes after a write has failed once.
    /// `node`: its host and port, where it has them.
    async fn open_at(&self, address: ConnectionAddr, node: Option<&Address>) -> Result<Connected, ConnectError> {
        let (mut multiplexed, info) = self.dial(address, true, self.url.db).await?;
        let probe = match &self.probe_key {
            // Writes nothing, but fails like any write: on a replica, with full memory, if another node owns the slot.
            Some(key) => cmd(&["SETRANGE", key, "0", ""]),
            None => cmd(&["PING"]),
        };
        match query(&mut multiplexed, &probe).await.map_err(|error| ErrorClass::of(&error)) {
            Ok(_) | Err(ErrorClass::ScriptError(_) | ErrorClass::NoScript) => {
                self.check_rights(&mut multiplexed, node).await?;
                let pool = pool::build(&info).map_err(|error| connect_error(&error))?;
                Ok(Connected { multiplexed, node: Arc::new(Node { info, pool }) })
            }
            Err(ErrorClass::Moved { address }) => Err(ConnectError::Moved(moved_to(&address, node))),
            Err(ErrorClass::Outage(why)) => Err(ConnectError::new(why)),
        }
    }

    async fn check_rights(
        &self,
        multiplexed: &mut MultiplexedConnection,
        node: Option<&Address>,
    ) -> Result<(), ConnectError> {
        match rights::missing(multiplexed, self.probe_key.as_ref().unwrap_or(&self.pool_key)).await {
            Ok(None) => Ok(()),
            Ok(Some(missing)) => Err(ConnectError::Rejected(missing)),
            Err(error) => match ErrorClass::of(&error) {
                ErrorClass::Moved { address } => Err(ConnectError::Moved(moved_to(&address, node))),
                ErrorClass::Outage(why) => Err(ConnectError::new(why)),
                // Not an answer to the question; the scripts find out.
                ErrorClass::ScriptError(_) | ErrorClass::NoScript => Ok(()),
            },
        }
    }

    /// The address of the primary. A Sentinel that requires a login gets the URL's credentials, which are the primary's.
    async fn ask_sentinel(&self, sentinel: &Address, master: &str) -> Result<Address, ConnectError> {
        let command = cmd(&["SENTINEL", "get-master-addr-by-name", master]);
        let mut reply = query(&mut self.dial(self.server_address(sentinel), false, 0).await?.0, &command).await;
        if reply.as_ref().is_err_and(|error| error.code() == Some("NOAUTH")) {
            reply = query(&mut self.dial(self.server_address(sentinel), true, 0).await?.0, &command).await;
        }
        match reply.map(redis::from_redis_value::<Option<Address>>) {
            Ok(Ok(Some(primary))) => Ok(primary),
            Ok(_) => Err(ConnectError::Failed(format!("Sentinel does not know a master `{master}`"))),
            Err(error) => Err(connect_error(&error)),
        }
    }

    fn server_address(&self, (host, port): &Address) -> ConnectionAddr {
        if self.url.tls {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    async fn dial(
        &self,
        address: ConnectionAddr,
        login: bool,
        db: i64,
    ) -> Result<(MultiplexedConnection, ConnectionInfo), ConnectError> {
        let mut settings = RedisConnectionInfo::default().set_db(db);
        if login && let Some(user) = &self.url.user {
            settings = settings.set_username(user);
        }
        if login && let Some(password) = &self.url.password {
            settings = settings.set_password(password);
        }
        let info = address.into_connection_info().map_err(|error| connect_error(&error))?.set_redis_settings(settings);
        let multiplexed = open(info.clone()).await.map_err(|error| connect_error(&error))?;
        Ok((multiplexed, info))
    }
}

/// Opens a connection that is driven by the current runtime.
pub(super) async fn open(info: ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    tls::client(info)?.get_multiplexed_async_connection_with_config(&without_time_limits()).await
}

fn connect_error(error: &RedisError) -> ConnectError {
    ConnectError::new(match ErrorClass::of(error) {
        ErrorClass::Outage(why) | ErrorClass::ScriptError(why) => why,
        ErrorClass::Moved { .. } | ErrorClass::NoScript => error.to_string(),
    })
}

impl ConnectError {
    fn new(why: String) -> Self {
        let rejections = ["WRONGPASS", "NOAUTH", "Password authentication failed", "AuthenticationFailed"];
        if rejections.iter().any(|text| why.contains(text)) { Self::Rejected(why) } else { Self::Failed(why) }
    }
}

/// The address of a `MOVED` reply. A missing host means the host of the node that replied.
fn moved_to(address: &str, node: Option<&Address>) -> Address {
    let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
    let (node_host, node_port) = node.map_or(("localhost", 6379), |(host, port)| (host, *port));
    let host = if host.is_empty() { node_host } else { host };
    (host.to_owned(), port.parse().unwrap_or(node_port))
}

fn cmd(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

async fn query(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    connection.send_packed_command(command).await?.extract_error()
}

/// Warns of server settings with which Redis may lose charges. Logs nothing where `CONFIG` is forbidden.
async fn check_settings(mut connection: MultiplexedConnection) {
    for (name, expected, risk) in [
        ("maxmemory-policy", "noeviction", "it may evict counters, and a missing counter is not a full budget"),
        ("appendonly", "yes", "a restart loses the charges"),
    ] {
        let command = cmd(&["CONFIG", "GET", name]);
        let Ok(Ok(reply)) = timeout(CONNECTION_WAIT, query(&mut connection, &command)).await else { continue };
        let Ok((_, value)) = redis::from_redis_value::<(String, String)>(reply) else { continue };
        if value != expected {
            warn!("Redis has `{name} {value}`, not `{expected}`: {risk}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_reply_without_a_host_means_the_node_that_replied() {
        let node = ("10.0.0.1".to_owned(), 7000);
        assert_eq!(moved_to("10.0.0.2:7001", Some(&node)), ("10.0.0.2".to_owned(), 7001));
        assert_eq!(moved_to(":7001", Some(&node)), ("10.0.0.1".to_owned(), 7001));
        assert_eq!(moved_to("fe80::1:7002", Some(&node)), ("fe80::1".to_owned(), 7002));
    }
}
