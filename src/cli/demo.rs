//! `tollfree demo`: a gateway on simulated providers that enforce the real free-tier limits.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    load, runtime,
    startup::{listen, made_admin_key, welcome, with_telemetry},
};
use crate::{
    app::{App, Storage},
    config::{Loaded, OllamaSettings, ProviderSettings, Settings},
    simulator::{self, Profile, Running, SimulatorSettings},
};

const BANNER: &str = "\
┌─────────────────────────────────────────────────────────────────────────┐
│  DEMO: the providers are simulated, and so is every answer.             │
│  Their limits are the real ones. Set a key such as GROQ_API_KEY and run │
│  `tollfree serve` for real answers.                                     │
└─────────────────────────────────────────────────────────────────────────┘
";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree demo               call http://127.0.0.1:3000/v1 with any OpenAI SDK
  PORT=4000 tollfree demo     the gateway on another port
  tollfree demo --providers-only --port 4100

The gateway uses the settings of `tollfree serve`, except those of providers and models. Its state
is lost when it stops.")]
pub(super) struct Arguments {
    /// Run only the simulated providers and print their addresses as one line of JSON
    #[arg(long)]
    providers_only: bool,
    /// Address of the simulated providers; 0.0.0.0 for gateways in other containers
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of the simulated providers; 0: any free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Differences from the real free tiers: a TOML or JSON file, or JSON text
    #[arg(long, value_name = "FILE|JSON")]
    profile: Option<String>,
    /// Threads of the simulated providers
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { providers_only: false, host: Ipv4Addr::LOCALHOST.into(), port: 0, profile: None, workers: 1 }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.providers_only {
        return runtime()?.block_on(providers_only(arguments));
    }
    let loaded = load()?;
    with_telemetry(&loaded, async {
        let (listeners, address) = listen(&loaded.settings).await?;
        gateway(loaded.clone(), arguments, listeners, address).await
    })
}

async fn providers_only(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let providers = start_providers(arguments).await?;
    announce(&providers)?;
    tokio::select! {
        _ = stop.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    providers.stop().await;
    Ok(())
}

/// Runs simulated providers and a gateway on them until a signal. All settings apply except providers, models and state.
pub(super) async fn gateway(
    mut loaded: Loaded,
    arguments: &Arguments,
    listeners: Vec<TcpListener>,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let providers = start_providers(arguments).await?;
    loaded.settings = on_simulated(loaded.settings, &providers);
    let made = made_admin_key(&loaded.settings);
    let app = App::open(loaded.settings.clone(), made.as_deref(), Storage::InMemory).await?;
    welcome(&loaded, &app, address, made.as_deref(), BANNER)?;
    let settings = loaded.settings;
    let served = app.serve(listeners, Box::new(move || Ok(settings.clone()))).await;
    providers.stop().await;
    served
}

/// The same settings with simulated providers only.
fn on_simulated(settings: Settings, simulated: &Running) -> Settings {
    let provider = |(id, url): (&String, &String)| {
        let keys = simulated.keys.get(id).into_iter().flatten().map(|key| key.as_str().into()).collect();
        (id.clone(), ProviderSettings { keys, base_url: Some(url.clone()), ..ProviderSettings::default() })
    };
    let providers: BTreeMap<String, ProviderSettings> = simulated.urls.iter().map(provider).collect();
    Settings {
        redis_url: None,
        ollama: OllamaSettings { base_url: simulated.urls.get("ollama").cloned(), models: Vec::new() },
        providers,
        models: BTreeMap::new(),
        ..settings
    }
}

/// Starts the simulated providers. They are listening when this returns.
pub(super) async fn start_providers(arguments: &Arguments) -> anyhow::Result<Running> {
    let profile = arguments.profile.as_deref().map(read_profile).transpose()?.unwrap_or_default();
    let &Arguments { host, port, workers, .. } = arguments;
    simulator::start(SimulatorSettings { host, port, workers, profile }).await
}

/// Prints one line for the program that started this one.
fn announce(running: &Running) -> anyhow::Result<()> {
    let providers: BTreeMap<_, _> = running
        .urls
        .iter()
        .map(|(id, url)| (id, json!({ "base_url": url, "keys": running.keys.get(id).cloned().unwrap_or_default() })))
        .collect();
    let line = json!({ "control": running.control_url, "providers": providers });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

fn read_profile(given: &str) -> anyhow::Result<Profile> {
    if given.trim_start().starts_with('{') {
        return serde_json::from_str(given).context("--profile is not a profile in JSON");
    }
    let text = std::fs::read_to_string(given).with_context(|| format!("cannot read the profile {given}"))?;
    let json = Path::new(given).extension().is_some_and(|end| end == "json");
    if json {
        serde_json::from_str(&text).with_context(|| format!("{given} is not a profile"))
    } else {
        toml::from_str(&text).with_context(|| format!("{given} is not a profile"))
    }
}
