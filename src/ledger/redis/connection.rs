//! Keeps one connection to the node that holds our slot: finds it, watches it, replaces it.
//!
//! Its changes of state are logged by the ledger, whose users notice them; here they are details.
//!
//! One multiplexed connection is shared by all calls: what is asked at the same time travels in one packet, and a
//! settle sent after an admit runs after it. Callers never connect; while there is no line they fail at once.

use std::{pin::pin, sync::Arc, time::Duration};

use deadpool_redis::{Connection, Manager, Pool};
use futures_util::future::{FutureExt, select_ok};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisError as Error, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, warn};

use super::error_class::Judged;
use crate::{
    config::{Address, RedisUrl, Topology},
    ledger::keys::Key,
};

/// Every command has this long; one that took longer takes its connection down with it.
pub(super) const DEADLINE: Duration = Duration::from_millis(100);
/// One attempt to find and open a connection.
const CONNECT: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts when the password was refused: more would only fill the server's security log.
const PAUSE_REFUSED: Duration = Duration::from_secs(1);
/// Callers wait this long for a first attempt before they are told of an outage.
const GRACE: Duration = Duration::from_millis(50);

#[derive(Clone)]
enum State {
    /// The first attempt since the line broke (or since the start) is under way.
    Connecting,
    Up(Line),
    Down(Arc<str>),
}

/// A connection that answered.
#[derive(Clone)]
pub(super) struct Line {
    pub connection: MultiplexedConnection,
    pub number: u64,
}

/// A call's word that its line is of no use any more.
struct Broken {
    why: String,
    /// The first key of that call: what the next line must be able to write.
    key: Option<Key>,
}

/// Where the line in use leads; `None` until there was one.
pub(super) type Nodes = watch::Receiver<Option<ConnectionInfo>>;

/// The callers' half.
pub(super) struct Lines {
    state: Arc<watch::Sender<State>>,
    nodes: Nodes,
    broken: mpsc::UnboundedSender<Broken>,
}

impl Lines {
    /// The node of each line in turn: who needs a connection of its own makes it there.
    pub fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// The line in use; waits at most until `until` where a first attempt is still under way.
    pub async fn line(&self, until: Instant) -> Result<Line, String> {
        match &*self.state.borrow() {
            State::Up(line) => return Ok(line.clone()),
            State::Down(why) => return Err(why.to_string()),
            State::Connecting => {}
        }
        let mut state = self.state.subscribe();
        let settled = timeout_at(until, state.wait_for(|state| !matches!(state, State::Connecting))).await;
        match settled.as_ref().map(|state| state.as_deref()) {
            Ok(Ok(State::Up(line))) => Ok(line.clone()),
            Ok(Ok(State::Down(why))) => Err(why.to_string()),
            _ => Err("still connecting".to_owned()),
        }
    }

    /// Gives up a line, unless it has been replaced already: from here on no call gets it.
    pub fn give_up(&self, line: &Line, why: &str, key: Option<&Key>) {
        let given_up = self.state.send_if_modified(|state| {
            let this = matches!(state, State::Up(now) if now.number == line.number);
            if this {
                *state = State::Connecting;
            }
            this
        });
        if given_up {
            // The keeper is gone only at shutdown.
            let _ = self.broken.send(Broken { why: why.to_owned(), key: key.cloned() });
        }
    }
}

/// The keeper's half.
pub(super) struct Keeper {
    url: RedisUrl,
    state: Arc<watch::Sender<State>>,
    broken: mpsc::UnboundedReceiver<Broken>,
    /// A key of ours that once met an outage: a new line must be able to write it.
    key: Option<Key>,
    /// The Cluster node used last; it may not stand in the URL.
    last: Mutex<Option<Address>>,
    nodes: watch::Sender<Option<ConnectionInfo>>,
}

/// A connection, and where it leads.
struct Dialled {
    connection: MultiplexedConnection,
    node: ConnectionInfo,
}

pub(super) fn lines(url: RedisUrl) -> (Lines, Keeper) {
    let state = Arc::new(watch::Sender::new(State::Connecting));
    let (sender, broken) = mpsc::unbounded_channel();
    let (nodes, told) = watch::channel(None);
    (
        Lines { state: Arc::clone(&state), nodes: told, broken: sender },
        Keeper { url, state, broken, key: None, last: Mutex::new(None), nodes },
    )
}

/// Why an attempt to open a line came to nothing.
enum Miss {
    Failed(String),
    /// The password or the user was refused.
    Refused(String),
    /// Another Cluster node owns the slot.
    Moved(Address),
}

impl Keeper {
    /// Runs until dropped.
    pub async fn run(mut self) {
        let mut was_down = false;
        for number in 1.. {
            let Dialled { connection, node } = self.connect(&mut was_down).await;
            if number == 1 {
                check_settings(connection.clone()).await;
            }
            if number == 1 || was_down {
                debug!("Connected to Redis");
            }
            was_down = false;
            // First, so that whoever has the line finds where it leads.
            self.nodes.send_replace(Some(node));
            self.state.send_replace(State::Up(Line { connection, number }));
            let Some(broken) = self.broken.recv().await else { return };
            debug!("Gave up a connection to Redis: {}", broken.why);
            self.key = broken.key.or(self.key);
        }
    }

    /// Tries until it has a connection; tells the callers when the first try takes long or fails.
    async fn connect(&self, was_down: &mut bool) -> Dialled {
        loop {
            let mut attempt = pin!(timeout(CONNECT, self.attempt()));
            let outcome = if let Ok(outcome) = timeout(GRACE, &mut attempt).await {
                outcome
            } else {
                self.state.send_replace(State::Down("no answer".into()));
                attempt.await
            };
            let (why, pause) = match outcome {
                Ok(Ok(connection)) => return connection,
                Ok(Err(Miss::Failed(why))) => (why, PAUSE),
                Ok(Err(Miss::Refused(why))) => (why, PAUSE_REFUSED),
                Ok(Err(Miss::Moved((host, port)))) => (format!("{host}:{port} owns the slot and sends us away"), PAUSE),
                Err(_) => ("no answer".to_owned(), Duration::ZERO),
            };
            if !*was_down {
                *was_down = true;
                debug!("Redis cannot be reached: {why}");
            }
            self.state.send_replace(State::Down(why.into()));
            sleep(pause).await;
        }
    }

    /// Finds the node that serves us and opens a connection that has answered.
    async fn attempt(&self) -> Result<Dialled, Miss> {
        match &self.url.topology {
            Topology::Single => self.open(&self.url.addresses[0]).await,
            Topology::Sentinel { master } => {
                let asked = self.url.addresses.iter().map(|sentinel| self.ask_sentinel(sentinel, master).boxed());
                let (primary, _) = select_ok(asked).await?;
                self.open(&primary).await
            }
            Topology::Cluster => {
                let mut nodes = self.url.addresses.clone();
                nodes.extend(self.last.lock().clone().filter(|last| !self.url.addresses.contains(last)));
                let opened = nodes.iter().map(|node| self.open_owner(node).boxed());
                let ((connection, owner), _) = select_ok(opened).await?;
                *self.last.lock() = Some(owner);
                Ok(connection)
            }
        }
    }

    /// Asks one Cluster node and follows it to the owner of our slot.
    async fn open_owner(&self, node: &Address) -> Result<(Dialled, Address), Miss> {
        match self.open(node).await {
            Ok(connection) => Ok((connection, node.clone())),
            Err(Miss::Moved(owner)) => Ok((self.open(&owner).await?, owner)),
            Err(miss) => Err(miss),
        }
    }

    /// Connects and makes sure that the node serves us: reading, and writing where that has once failed.
    async fn open(&self, node: &Address) -> Result<Dialled, Miss> {
        let mut dialled = self.dial(node, true, self.url.db).await?;
        let probe = match &self.key {
            // Writes nothing, and is refused like any write: by a replica, a full memory, a slot that is elsewhere.
            Some(key) => cmd(&["SETRANGE", key, "0", ""]),
            None => cmd(&["PING"]),
        };
        match ask(&mut dialled.connection, &probe).await.map_err(|error| (Judged::of(&error), error)) {
            Ok(_) | Err((Judged::Mistake(_) | Judged::Unknown, _)) => Ok(dialled),
            Err((Judged::Moved { address }, _)) => Err(Miss::Moved(moved_to(&address, node))),
            Err((Judged::Outage(why), _)) => Err(Miss::of(why)),
        }
    }

    async fn ask_sentinel(&self, sentinel: &Address, master: &str) -> Result<Address, Miss> {
        let question = cmd(&["SENTINEL", "get-master-addr-by-name", master]);
        // The user and password of the URL are the primary's; a Sentinel that wants some is given the same.
        let mut connection = self.dial(sentinel, false, 0).await?.connection;
        let answer = match ask(&mut connection, &question).await {
            Err(error) if error.code() == Some("NOAUTH") => {
                let mut connection = self.dial(sentinel, true, 0).await?.connection;
                ask(&mut connection, &question).await
            }
            answer => answer,
        };
        match answer.map(redis::from_redis_value::<Option<(String, u16)>>) {
            Ok(Ok(Some(primary))) => Ok(primary),
            Ok(_) => Err(Miss::Failed(format!("Sentinel does not know a master `{master}`"))),
            Err(error) => Err(miss(&error)),
        }
    }

    async fn dial(&self, (host, port): &Address, login: bool, db: i64) -> Result<Dialled, Miss> {
        let mut login_info = RedisConnectionInfo::default().set_db(db);
        if login && let Some(user) = &self.url.user {
            login_info = login_info.set_username(user);
        }
        if login && let Some(password) = &self.url.password {
            login_info = login_info.set_password(password);
        }
        let address = if self.url.tls {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        };
        let info = address.into_connection_info().map_err(|error| miss(&error))?.set_redis_settings(login_info);
        // Both bounds are ours: the attempt's and each call's.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let manager = Manager::new_with_config(info.clone(), config).map_err(|error| miss(&error))?;
        let pool = Pool::builder(manager).max_size(1).build().map_err(|error| Miss::Failed(error.to_string()))?;
        match pool.get().await {
            // Taken for good: giving it back would ping before each use.
            Ok(connection) => Ok(Dialled { connection: Connection::take(connection), node: info }),
            Err(deadpool_redis::PoolError::Backend(error)) => Err(miss(&error)),
            Err(error) => Err(Miss::Failed(error.to_string())),
        }
    }
}

fn miss(error: &Error) -> Miss {
    Miss::of(match Judged::of(error) {
        Judged::Outage(why) | Judged::Mistake(why) => why,
        Judged::Moved { .. } | Judged::Unknown => error.to_string(),
    })
}

impl Miss {
    fn of(why: String) -> Self {
        let refusals = ["WRONGPASS", "NOAUTH", "Password authentication failed", "AuthenticationFailed"];
        if refusals.iter().any(|words| why.contains(words)) { Self::Refused(why) } else { Self::Failed(why) }
    }
}

/// `MOVED` may leave the host out: the same as that of the node asked.
fn moved_to(address: &str, asked: &Address) -> Address {
    let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
    let host = if host.is_empty() { &asked.0 } else { host };
    (host.to_owned(), port.parse().unwrap_or(asked.1))
}

fn cmd(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

async fn ask(connection: &mut MultiplexedConnection, question: &Cmd) -> Result<Value, Error> {
    connection.send_packed_command(question).await?.extract_error()
}

/// Warns of settings under which Redis may forget charges. Where `CONFIG` is forbidden nothing is said.
async fn check_settings(mut connection: MultiplexedConnection) {
    for (name, wanted, otherwise) in [
        ("maxmemory-policy", "noeviction", "it may evict counters, and a missing counter is not a full budget"),
        ("appendonly", "yes", "a restart forgets what has been charged"),
    ] {
        let question = cmd(&["CONFIG", "GET", name]);
        let Ok(Ok(answer)) = timeout(DEADLINE, ask(&mut connection, &question)).await else { continue };
        let Ok((_, value)) = redis::from_redis_value::<(String, String)>(answer) else { continue };
        if value != wanted {
            warn!("Redis has `{name} {value}`, not `{wanted}`: {otherwise}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_reply_without_a_host_means_the_one_that_was_asked() {
        let asked = ("10.0.0.1".to_owned(), 7000);
        assert_eq!(moved_to("10.0.0.2:7001", &asked), ("10.0.0.2".to_owned(), 7001));
        assert_eq!(moved_to(":7001", &asked), ("10.0.0.1".to_owned(), 7001));
        assert_eq!(moved_to("fe80::1:7002", &asked), ("fe80::1".to_owned(), 7002));
    }
}
