//! Providers on loopback that enforce and audit their real free-tier limits.
//!
//! The simulator checks the ledger, so it shares no code with it. It counts naively, from plain logs of charges, and records
//! the highest level of every window. Everything listens on one port:
//!
//! | path | |
//! |---|---|
//! | `/groq/openai/v1`, `/gemini/v1beta/openai`, `/cerebras/v1`, `/mistral/v1`, `/ollama/v1`, `/cohere/compatibility/v1` | base URLs: `chat/completions`, `completions`, `fim/completions`, `embeddings`, `moderations`, `rerank`, `audio/transcriptions` and `models` |
//! | `POST /v2/rerank` | Cohere's, beside its compatible API |
//! | `POST, GET, DELETE /_control/faults` | faults on demand, see `faults::FaultRule` |
//! | `POST /_control/profile` | changes limits, latency, accounts and switches: a `Profile` as JSON |
//! | `POST /_control/reset` | clears counts, audit and faults |
//! | `GET /_audit`, `GET /_audit/log?provider=&account=&model=&since=` | usage and calls |
//!
//! Directives in the prompt set the length and the pace of a response: see `request`.

mod accounting;
mod chat;
mod clock;
mod completion;
mod completions;
mod control;
mod dialects;
mod embeddings;
mod faults;
mod ids;
mod in_flight;
mod moderation;
mod profile;
mod provider;
mod ranking;
mod recorded;
mod request;
mod rng;
mod schema;
mod server;
mod settings;
mod socket;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod transcription;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix_web::dev::ServerHandle;
use anyhow::Context;

use crate::shutdown::Tasks;
pub(crate) use profile::Profile;

/// How to start the simulator.
#[derive(Debug, Clone)]
pub(crate) struct SimulatorSettings {
    /// Loopback, unless gateways in other containers connect.
    pub host: IpAddr,
    /// 0 takes a free port.
    pub port: u16,
    /// Server threads, at least one.
    pub workers: usize,
    /// Merged over the built-in profile.
    pub profile: Profile,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 0, workers: 0, profile: Profile::default() }
    }
}

/// A running simulator.
pub(crate) struct Running {
    /// Base URL of each provider, for the gateway's `<PROVIDER>_BASE_URL`.
    pub urls: BTreeMap<String, String>,
    /// Keys of each provider; none for a provider that takes any key.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Origin of `/_control` and `/_audit`.
    pub control_url: String,
    handle: ServerHandle,
    tasks: Tasks,
}

/// Starts the providers. They listen when this returns.
pub(crate) async fn start(settings: SimulatorSettings) -> anyhow::Result<Running> {
    let tasks = Tasks::new();
    let profile = settings.profile;
    // Building the state reads time zones from disk.
    let state = tokio::task::spawn_blocking(move || state::State::new(&profile)).await?;
    let state = Arc::new(state.context("the simulator's profile")?);
    let address = SocketAddr::new(settings.host, settings.port);
    let (server, handle, address) = server::bind(&state, address, settings.workers)
        .with_context(|| format!("the simulator cannot listen on {address}"))?;
    tasks.spawn_endless(async {
        let _ = server.await;
    });
    let origin = format!("http://{address}");
    let providers = state.providers();
    let urls =
        providers.by_id.values().map(|provider| (provider.id.clone(), format!("{origin}{}", server::path(provider))));
    let keys = providers.by_id.values().map(|provider| {
        let mut keys: Vec<String> = provider.keys.keys().cloned().collect();
        keys.sort();
        (provider.id.clone(), keys)
    });
    Ok(Running { urls: urls.collect(), keys: keys.collect(), control_url: origin, handle, tasks })
}

impl Running {
    /// Stops listening and drops the calls in flight.
    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
        self.tasks.drain(Duration::from_secs(2)).await;
    }
}
