//! Composition root: the only place that connects the rooms with each other.

pub(crate) mod catalogue;
mod descriptors;
mod discovery;
mod guarded_stream;
mod head_limit;
mod listen;
mod master_key;
mod server;
mod shared_catalog;
mod signals;
mod store;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::web::Data;
use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use listen::bind;
pub(crate) use store::{Store, StoreInUse};

use crate::{
    api::edge::{access_policy::AccessPolicy, state::AppState},
    catalog::{Catalog, CatalogError, Current, Discovered},
    config::Settings,
    domain::{KeyDigest, ModelKind},
    flow::{Flow, WaitLimits},
    ledger::{Findings, Ledger, Rules, embedded::EmbeddedEngine, engine::ScriptEngine, redis::RedisEngine},
    memory::Memory,
    record::metrics,
    shutdown::Tasks,
    telemetry,
    upstream::{BuildError, ProxySettings, Upstream, UpstreamSettings},
};

/// Reads the settings again. The error is written for the operator.
pub(crate) type Reload = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// Where the state is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In Redis or in the data directory, as the settings say.
    Configured,
    /// In memory, until the process ends.
    InMemory,
}

/// The gateway without its listening socket.
pub(crate) struct App {
    settings: ArcSwap<Settings>,
    catalog: Current,
    /// Held while a new catalogue is built and put in force.
    building: Mutex<()>,
    /// From which the catalogue was built.
    findings_in_force: Mutex<Findings>,
    upstream: Upstream,
    /// Models reported by servers without a configured list, by provider.
    discovered: ArcSwap<Discovered>,
    state: Data<AppState>,
    tasks: Tasks,
    /// Generated and shown at start if the operator set none.
    generated_admin_key: Option<KeyDigest>,
    /// Whether the ledger has replied to the question whether it holds client keys.
    has_counted_clients: AtomicBool,
}

impl App {
    /// Opens everything needed to serve. An unwritable data directory is an error; an unreachable Redis is not.
    /// `generated_admin_key` is used if the settings contain none.
    pub(crate) async fn open(
        settings: Settings,
        generated_admin_key: Option<&str>,
        storage: Storage,
    ) -> anyhow::Result<Arc<Self>> {
        let tasks = Tasks::new();
        let upstream = upstream(&settings)?;
        let discovered = discovery::discover(&upstream, &settings, &Discovered::new()).await;
        let catalog: Current = Arc::new(ArcSwap::from_pointee(Catalog::build(&settings, &discovered)?));
        let ledger = Ledger::start(
            script_engine(&settings, &tasks, storage)?,
            &rules(&settings),
            catalog.clone(),
            tasks.clone(),
        );
        ledger.set_master_keys(master_key::read(&settings, storage)?);
        shared_catalog::read_at_start(&ledger).await;
        let route_timeout = Duration::from_millis(settings.timeouts.route_ms);
        let flow = Flow::new(catalog.clone(), ledger, upstream.clone(), tasks.clone(), queue(&settings), route_timeout);
        metrics::observe(&flow);
        let generated_admin_key = generated_admin_key.map(KeyDigest::of);
        let has_clients = store::has_clients(&flow.ledger, &settings).await;
        let policy = AccessPolicy::new(&settings, generated_admin_key.as_ref(), has_clients == Some(true));
        flow.ledger.set_file_clients(settings.clients.records.clone(), policy.limits.clone());
        let app = Arc::new(Self {
            settings: ArcSwap::from_pointee(settings),
            catalog,
            building: Mutex::default(),
            findings_in_force: Mutex::default(),
            upstream,
            discovered: ArcSwap::from_pointee(discovered),
            state: Data::new(AppState::new(policy, flow, has_clients == Some(true))),
            tasks,
            generated_admin_key,
            has_counted_clients: AtomicBool::new(has_clients.is_some()),
        });
        shared_catalog::follow(&app);
        app.install(None, None)?;
        app.note_providers_until_done();
        if has_clients != Some(true) {
            store::watch_for_clients(&app);
        }
        app.note_providers().await;
        Ok(app)
    }

    /// The number of models, and the ids of the providers that serve them.
    pub(crate) fn offer(&self) -> (usize, Vec<String>) {
        let catalog = self.catalog.load();
        let mut providers: Vec<String> = catalog.models.iter().map(|served| served.provider.id.to_string()).collect();
        providers.dedup();
        (catalog.models.len(), providers)
    }

    /// Whether callers without a key are served.
    pub(crate) fn is_open(&self) -> bool {
        self.state.policy.load().open
    }

    /// Serves until a signal, then drains. Returns when everything is settled.
    pub(crate) async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>, reload: Reload) -> anyhow::Result<()> {
        descriptors::raise_limit();
        self.warn_about_settings();
        discovery::rediscover_periodically(&self);
        shared_catalog::look_periodically(&self);
        let reload = Arc::new(reload);
        catalogue::follow(&self, &reload);
        let gate = listen::AcceptGate::new(&listeners)?;
        let write_timeout = Duration::from_millis(self.settings.load().timeouts.write_ms);
        let in_flight = self.settings.load().limits.in_flight;
        let server = server::run(&self.state, listeners, workers(), write_timeout, in_flight)?;
        let handle = server.handle();
        let whole = async { server.await.context("the server failed") };
        tokio::try_join!(whole, signals::run_until_signalled(&self, &reload, handle, gate))?;
        Ok(())
    }

    /// Applies new settings. On an error the old ones stay in force.
    async fn reload(&self, settings: Settings) -> anyhow::Result<()> {
        let before = self.settings.load_full();
        let lost = settings.lost_files(&before);
        anyhow::ensure!(lost.is_empty(), "vanished or empty: {}; a restart would apply that", lost.join(", "));
        let with_keys = shared_catalog::with_shared(&settings, &self.stored_keys(), &Findings::new());
        let discovered = discovery::discover(&self.upstream, &with_keys, &self.discovered.load()).await;
        let unapplied = needs_restart(&before, &settings);
        let settings = Arc::new(settings);
        self.install(Some(settings.clone()), Some(discovered))?;
        self.install_policy(&settings);
        self.note_providers().await;
        tracing::info!("Reloaded the configuration");
        if !unapplied.is_empty() {
            tracing::warn!("These changes need a restart: {}", unapplied.join(", "));
        }
        self.warn_about_settings();
        Ok(())
    }

    /// Builds the catalogue from these settings and models, else the present ones, and from the provider keys as last read.
    /// On an error the old catalogue stays in force.
    fn install(&self, settings: Option<Arc<Settings>>, discovered: Option<Discovered>) -> Result<(), CatalogError> {
        let _one_at_a_time = self.building.lock();
        let is_configuration = settings.is_some() || discovered.is_some();
        let settings = settings.unwrap_or_else(|| self.settings.load_full());
        let discovered = discovered.map_or_else(|| self.discovered.load_full(), Arc::new);
        let keys = self.stored_keys();
        let findings = self.findings();
        let catalog = Catalog::build(&shared_catalog::with_shared(&settings, &keys, &findings), &discovered)?;
        *self.findings_in_force.lock() = findings;
        self.catalog.store(Arc::new(catalog));
        self.discovered.store(discovered);
        self.settings.store(settings);
        self.state.flow.ledger.provider_keys_in_force(keys.version);
        if is_configuration {
            self.note_providers_until_done();
        }
        Ok(())
    }

    /// Replaces the access policy by that of the new settings.
    fn install_policy(&self, settings: &Settings) {
        let policy = AccessPolicy::new(settings, self.generated_admin_key.as_ref(), self.state.has_clients());
        self.state.flow.ledger.set_file_clients(settings.clients.records.clone(), policy.limits.clone());
        self.state.policy.store(Arc::new(policy));
    }

    fn warn_about_settings(&self) {
        let policy = self.state.policy.load();
        let has_counted = self.has_counted_clients.load(Ordering::Relaxed);
        if !policy.open && policy.has_no_client_key() && has_counted {
            tracing::warn!(
                "Callers need a key, but no client key exists: create one with `tollfree keys create`, or set TOLLFREE_API_KEY or TOLLFREE_AUTH=open"
            );
        }
        let catalog = self.catalog.load();
        for note in &catalog.notes {
            tracing::warn!("{note}");
        }
        if catalog.candidates.is_empty() {
            tracing::warn!(
                "No provider is configured: set a key such as GROQ_API_KEY, add one on the dashboard, or run `tollfree demo`"
            );
        }
    }
}

/// Whether any provider that chats has a key or a local server was found. Opens no state.
pub(crate) async fn finds_provider(settings: &Settings) -> anyhow::Result<bool> {
    let catalog = Catalog::build(settings, &discover(settings).await?)?;
    Ok(catalog.candidates.iter().any(|candidate| candidate.model.kind == ModelKind::Chat))
}

/// The models that servers report themselves.
pub(crate) async fn discover(settings: &Settings) -> anyhow::Result<Discovered> {
    Ok(discovery::discover(&upstream(settings)?, settings, &Discovered::new()).await)
}

pub(crate) fn proxy(settings: &Settings) -> Option<ProxySettings> {
    let url = settings.https_proxy.as_ref()?.to_string();
    Some(ProxySettings { url, bypass: settings.no_proxy.clone() })
}

pub(crate) fn upstream(settings: &Settings) -> Result<Upstream, BuildError> {
    let upstream = UpstreamSettings {
        connect_ms: settings.timeouts.connect_ms,
        first_token_ms: settings.timeouts.first_token_ms,
        stream_idle_ms: settings.timeouts.stream_idle_ms,
        proxy: proxy(settings),
    };
    Upstream::new(upstream, workers(), Memory::new(settings.limits.memory_mb))
}

/// Number of server threads: half of the cores, at least one. One thread serves far more than free tiers allow, and fewer
/// threads find warm caches and open provider connections more often. The other cores are for Redis, the network and the
/// main runtime.
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
        outage_requests: settings.queue.outage_requests,
    }
}

/// The engine that runs the ledger's scripts: Redis if configured, else this process.
fn script_engine(settings: &Settings, tasks: &Tasks, storage: Storage) -> anyhow::Result<Arc<dyn ScriptEngine>> {
    if storage == Storage::InMemory {
        return Ok(Arc::new(EmbeddedEngine::in_memory()));
    }
    telemetry::set_database(database(settings));
    if let Some(url) = &settings.redis_url {
        return Ok(Arc::new(RedisEngine::connect(url.clone(), &settings.ledger.pool, tasks)));
    }
    Ok(Arc::new(EmbeddedEngine::open(&data_dir(settings)?, tasks)?))
}

/// Where embedded state is stored.
pub(crate) fn data_dir(settings: &Settings) -> anyhow::Result<PathBuf> {
    let directory = settings.ledger.data_dir.clone().or_else(user_data_dir);
    directory.context("no home directory for the embedded state: set TOLLFREE_DATA_DIR")
}

/// The database in the spans of ledger calls. It has no server address if there are several, because the master may change.
fn database(settings: &Settings) -> telemetry::Database {
    match &settings.redis_url {
        Some(url) => telemetry::Database { system: "redis", server: url.single_address() },
        None => telemetry::Database { system: "embedded", server: None },
    }
}

/// `$XDG_DATA_HOME/tollfree`, else the platform's data directory below the home directory.
fn user_data_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let under_home = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(under_home)))?;
    Some(base.join("tollfree"))
}

fn exposed(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

/// The names of changed settings that are read only at start.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("HOST, PORT", old.server != new.server),
        ("REDIS_URL", old.redis_url != new.redis_url),
        ("TOLLFREE_MASTER_KEY", exposed(&old.master_keys) != exposed(&new.master_keys)),
        ("TOLLFREE_DATA_DIR", old.ledger.data_dir != new.ledger.data_dir),
        ("TOLLFREE_POOL", old.ledger.pool != new.ledger.pool),
        ("CB_FAILURE_THRESHOLD, CB_SUCCESS_THRESHOLD, CB_TIMEOUT_MS", old.breaker != new.breaker),
        ("queue", old.queue != new.queue),
        ("ledger.slack_ms", old.ledger.slack_ms != new.ledger.slack_ms),
        ("timeouts", old.timeouts != new.timeouts),
        ("HTTPS_PROXY, NO_PROXY", old.https_proxy != new.https_proxy || old.no_proxy != new.no_proxy),
        ("OTEL_…", old.telemetry != new.telemetry),
        ("LOG_LEVEL, LOG_FORMAT", old.log != new.log),
    ];
    changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}
