//! Composition root: the only place where rooms are handed to each other.

mod discovery;
mod drain;
mod listen;
mod members;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{App as HttpApp, HttpServer, web::Data};
use anyhow::Context;
use arc_swap::ArcSwap;

pub use listen::bind;
pub use members::{Store, StoreInUse};

use crate::{
    api::{
        edge::{access_policy::Door, middleware, state::Edge},
        routes,
    },
    catalog::{Catalog, Current},
    config::Settings,
    domain::KeyDigest,
    flow::{Flow, WaitLimits},
    ledger::{Ledger, Rules, embedded::EmbeddedEngine, engine::ScriptEngine, redis::RedisEngine},
    record::metrics,
    shutdown::Tasks,
    telemetry,
    upstream::{BuildError, Upstream, UpstreamSettings},
};

/// How long an unused connection is kept for the caller's next request: longer than the 60 s of usual load balancers,
/// so that they close it and never we under a request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// For a caller to send a request's head. As long, since HTTP clients open connections ahead of need: the first request
/// on one must not meet our 408.
const HEAD: Duration = KEEP_ALIVE;
/// For a caller to take the end of an answer when the connection closes.
const GOODBYE: Duration = Duration::from_secs(5);

/// Reads the settings anew; the error is in words for the operator.
pub type Reload = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// Where the budget is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In Redis or in the data directory, as the settings say.
    AsSet,
    /// In memory: it ends with the process.
    Fleeting,
}

/// Everything but the open door.
pub struct App {
    settings: ArcSwap<Settings>,
    catalog: Current,
    upstream: Upstream,
    /// Models that servers without a list of their own named, by provider.
    discovered: ArcSwap<BTreeMap<String, Vec<String>>>,
    edge: Data<Edge>,
    tasks: Tasks,
    /// The one shown at start, when the operator set none.
    made_admin_key: Option<KeyDigest>,
    /// The ledger held members' keys when it first answered.
    has_members: AtomicBool,
}

impl App {
    /// Opens what is needed to serve. An unreachable Redis is no error, an unwritable data directory is.
    /// `made_admin_key`: guards the admin's endpoints where the settings hold no key.
    pub async fn open(settings: Settings, made_admin_key: Option<&str>, state: State) -> anyhow::Result<Arc<Self>> {
        let tasks = Tasks::new();
        let upstream = upstream(&settings)?;
        let discovered = discovery::ask(&upstream, &settings, &BTreeMap::new()).await;
        let catalog: Current = Arc::new(ArcSwap::from_pointee(Catalog::build(&settings, &discovered)?));
        let ledger = Ledger::start(host(&settings, &tasks, state)?, &rules(&settings), catalog.clone(), tasks.clone());
        let route_timeout = Duration::from_millis(settings.timeouts.route_ms);
        let flow = Flow::new(catalog.clone(), ledger, upstream.clone(), tasks.clone(), queue(&settings), route_timeout);
        metrics::observe(&flow);
        let made_admin_key = made_admin_key.map(KeyDigest::of);
        let has_members = members::look(&flow.ledger, &settings).await;
        let door = Door::new(&settings, made_admin_key.as_ref(), has_members == Some(true));
        flow.ledger.set_file_clients(settings.clients.records.clone(), door.limits.clone());
        let app = Arc::new(Self {
            settings: ArcSwap::from_pointee(settings),
            catalog,
            upstream,
            discovered: ArcSwap::from_pointee(discovered),
            edge: Data::new(Edge::new(door, flow)),
            tasks,
            made_admin_key,
            has_members: AtomicBool::new(has_members == Some(true)),
        });
        if has_members.is_none() {
            members::look_later(&app);
        }
        Ok(app)
    }

    /// How many models can be asked for by name, and the ids of the providers that serve them.
    pub fn offer(&self) -> (usize, Vec<String>) {
        let catalog = self.catalog.load();
        let mut providers: Vec<String> = catalog.models.iter().map(|served| served.provider.id.to_string()).collect();
        providers.dedup();
        (catalog.models.len(), providers)
    }

    /// Whether callers without a key are served.
    pub fn is_open(&self) -> bool {
        self.edge.door.load().open
    }

    /// Serves until a signal, then drains. Returns when everything is settled.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, reload: Reload) -> anyhow::Result<()> {
        self.warn_of_settings();
        discovery::keep_asking(&self);
        let gate = listen::Gate::of(&listener)?;
        let edge = self.edge.clone();
        let server = HttpServer::new(move || {
            HttpApp::new().wrap_fn(middleware::around).app_data(edge.clone()).configure(routes::all)
        })
        .workers(workers())
        .disable_signals()
        .h1_allow_half_closed(false) // a caller that leaves drops its request, and with it the call to the provider
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD)
        .client_disconnect_timeout(GOODBYE)
        .shutdown_timeout(GOODBYE.as_secs())
        .listen(listener)
        .context("cannot listen")?
        .run();
        let handle = server.handle();
        let whole = async { server.await.context("the server failed") };
        tokio::try_join!(whole, drain::until_signalled(&self, reload, handle, gate))?;
        Ok(())
    }

    /// Takes new settings in; on any mistake everything stays as it was.
    async fn reload(&self, settings: Settings) -> anyhow::Result<()> {
        let discovered = discovery::ask(&self.upstream, &settings, &self.discovered.load()).await;
        let catalog = Catalog::build(&settings, &discovered)?;
        let fixed = needs_restart(&self.settings.load(), &settings);
        self.hang_door(&settings);
        self.catalog.store(Arc::new(catalog));
        self.discovered.store(Arc::new(discovered));
        self.settings.store(Arc::new(settings));
        tracing::info!("Reloaded the configuration");
        if !fixed.is_empty() {
            tracing::warn!("Not taken over before the next start: {}", fixed.join(", "));
        }
        self.warn_of_settings();
        Ok(())
    }

    /// Who may enter, by these settings and by what the ledger held at start.
    fn hang_door(&self, settings: &Settings) {
        let door = Door::new(settings, self.made_admin_key.as_ref(), self.has_members.load(Ordering::Relaxed));
        self.edge.flow.ledger.set_file_clients(settings.clients.records.clone(), door.limits.clone());
        self.edge.door.store(Arc::new(door));
    }

    fn warn_of_settings(&self) {
        let door = self.edge.door.load();
        if !door.open && door.has_no_client_key() {
            tracing::warn!(
                "Every caller needs a key and there is none: make some with `tollfree keys create`, set TOLLFREE_API_KEY, or TOLLFREE_AUTH=open"
            );
        }
        if self.catalog.load().candidates.is_empty() {
            tracing::warn!("No provider is configured: set a key such as GROQ_API_KEY, or run `tollfree demo`");
        }
    }
}

/// Whether any provider has a key, or a local server was found; opens no state.
pub async fn finds_provider(settings: &Settings) -> anyhow::Result<bool> {
    let discovered = discovery::ask(&upstream(settings)?, settings, &BTreeMap::new()).await;
    Ok(!Catalog::build(settings, &discovered)?.candidates.is_empty())
}

pub fn upstream(settings: &Settings) -> Result<Upstream, BuildError> {
    let upstream = UpstreamSettings {
        connect_ms: settings.timeouts.connect_ms,
        first_token_ms: settings.timeouts.first_token_ms,
        stream_idle_ms: settings.timeouts.stream_idle_ms,
        proxy: settings.https_proxy.as_ref().map(|proxy| proxy.to_string()),
    };
    Upstream::new(upstream, workers())
}

/// The server's threads: half of the cores, at least one. One serves a thousand times what free tiers give, and the fewer
/// there are, the more often a request finds a warm cache and an open connection to its provider; the other cores are for
/// Redis, the network, and our own thread beside the server's.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn queue(settings: &Settings) -> WaitLimits {
    WaitLimits {
        max_wait: Duration::from_millis(settings.queue.max_wait_ms),
        flex_max_wait: Duration::from_millis(settings.queue.flex_max_wait_ms),
    }
}

fn rules(settings: &Settings) -> Rules {
    Rules {
        pool: settings.ledger.pool.clone(),
        slack_ms: settings.ledger.slack_ms,
        failure_threshold: settings.breaker.failure_threshold,
        success_threshold: settings.breaker.success_threshold,
        open_ms: settings.breaker.open_ms,
    }
}

/// Who runs the ledger's scripts: Redis where one is named, else this process.
fn host(settings: &Settings, tasks: &Tasks, state: State) -> anyhow::Result<Arc<dyn ScriptEngine>> {
    if state == State::Fleeting {
        return Ok(Arc::new(EmbeddedEngine::in_memory()));
    }
    telemetry::set_database(database(settings));
    if let Some(url) = &settings.redis_url {
        return Ok(Arc::new(RedisEngine::connect(url.clone(), tasks)));
    }
    let directory = match &settings.ledger.data_dir {
        Some(directory) => directory.clone(),
        None => user_data_dir().context("there is no home directory for embedded state: set TOLLFREE_DATA_DIR")?,
    };
    Ok(Arc::new(EmbeddedEngine::open(&directory, tasks)?))
}

/// What the ledger's calls are calls of. Of several servers none is named: which one answers may change.
fn database(settings: &Settings) -> telemetry::Database {
    match &settings.redis_url {
        Some(url) => telemetry::Database { system: "redis", server: url.single_address() },
        None => telemetry::Database { system: "embedded", server: None },
    }
}

/// `$XDG_DATA_HOME/tollfree`, else the platform's place under the home directory.
fn user_data_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let under_home = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(under_home)))?;
    Some(base.join("tollfree"))
}

/// Names of changed settings that only a start reads.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("HOST, PORT", old.server != new.server),
        ("REDIS_URL", old.redis_url != new.redis_url),
        ("TOLLFREE_DATA_DIR", old.ledger.data_dir != new.ledger.data_dir),
        ("TOLLFREE_POOL", old.ledger.pool != new.ledger.pool),
        ("CB_FAILURE_THRESHOLD, CB_SUCCESS_THRESHOLD, CB_TIMEOUT_MS", old.breaker != new.breaker),
        ("queue", old.queue != new.queue),
        ("ledger.slack_ms", old.ledger.slack_ms != new.ledger.slack_ms),
        ("timeouts", old.timeouts != new.timeouts),
        ("HTTPS_PROXY", old.https_proxy != new.https_proxy),
        ("OTEL_…", old.telemetry != new.telemetry),
        ("LOG_LEVEL, LOG_FORMAT", old.log != new.log),
    ];
    changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}
