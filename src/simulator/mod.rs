//! Providers on loopback that enforce and audit their real free-tier limits.
//!
//! The judge: written apart from the ledger and sharing no code with it. It counts naively, from plain logs of charges,
//! and remembers the most that ever was in any window. Everything listens on one port:
//!
//! | path | |
//! |---|---|
//! | `/groq/openai/v1`, `/gemini/v1beta/openai`, `/cerebras/v1`, `/mistral/v1`, `/ollama/v1` | base URLs: `chat/completions` and `models` |
//! | `POST, GET, DELETE /_control/faults` | faults on demand, see [`faults::Fault`] |
//! | `POST /_control/profile` | limits, latency, accounts, switches, live: [`Profile`] as JSON |
//! | `POST /_control/reset` | forgets counts, audit and faults |
//! | `GET /_audit`, `GET /_audit/log?provider=&account=&model=&since=` | what was seen |
//!
//! How long and how fast an answer is can be said in the prompt: see [`request`].

mod accounting;
mod chat;
mod clock;
mod completion;
mod control;
mod dialects;
mod faults;
mod ids;
mod in_flight;
mod profile_merge;
mod provider;
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

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::dev::ServerHandle;
use anyhow::Context;

use crate::shutdown::Tasks;
pub use settings::{Profile, SimulatorSettings};

/// A running simulator.
pub struct Running {
    /// Provider → base URL, as a gateway's `<PROVIDER>_BASE_URL` wants it.
    pub urls: BTreeMap<String, String>,
    /// Provider → its keys in force; none for a provider that takes any.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Where `/_control` and `/_audit` are.
    pub control_url: String,
    handle: ServerHandle,
    tasks: Tasks,
}

/// Starts the providers; they listen when this returns.
pub async fn start(settings: SimulatorSettings) -> anyhow::Result<Running> {
    let tasks = Tasks::new();
    let profile = settings.profile;
    // Building a state reads time zones from disk.
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
    let urls = providers
        .providers
        .values()
        .map(|provider| (provider.id.clone(), format!("{origin}{}", server::path(provider))));
    let keys = providers.providers.values().map(|provider| {
        let mut keys: Vec<String> = provider.keys.keys().cloned().collect();
        keys.sort();
        (provider.id.clone(), keys)
    });
    Ok(Running { urls: urls.collect(), keys: keys.collect(), control_url: origin, handle, tasks })
}

impl Running {
    /// Stops listening and drops what is in flight.
    pub async fn stop(self) {
        self.handle.stop(false).await;
        self.tasks.drain(Duration::from_secs(2)).await;
    }
}
