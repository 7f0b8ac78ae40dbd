//! `tollfree serve`: the gateway.

use super::{
    demo, load,
    startup::{listen, made_admin_key, welcome, with_telemetry},
};
use crate::{
    app::{self, App, Storage},
    config::Loaded,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  GROQ_API_KEY=gsk_a,gsk_b tollfree serve     two keys, each an account of its own
  HOST=0.0.0.0 TOLLFREE_API_KEY=… TOLLFREE_ADMIN_KEY=… REDIS_URL=redis://… tollfree serve

Signals: HUP reloads the configuration (a wrong one changes nothing). TERM and Ctrl-C finish and
settle the accepted requests and stop; a second signal stops at once.")]
pub(super) struct Arguments {
    /// Port to listen on, instead of PORT and server.port
    #[arg(long)]
    port: Option<u16>,
    /// Start the demo if no provider is configured and no local Ollama is running
    #[arg(long)]
    or_demo: bool,
}

impl Arguments {
    /// Those of `tollfree` alone.
    pub(super) fn or_demo() -> Self {
        Self { port: None, or_demo: true }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let port = arguments.port;
    let loaded = load_with_port(port)?;
    with_telemetry(&loaded, async {
        // First, because a port in use is the most likely mistake and is found without any state.
        let (listeners, address) = listen(&loaded.settings).await?;
        if arguments.or_demo && !app::finds_provider(&loaded.settings).await? {
            return demo::gateway(loaded.clone(), &demo::Arguments::default(), listeners, address).await;
        }
        let made = made_admin_key(&loaded.settings);
        let app = App::open(loaded.settings.clone(), made.as_deref(), Storage::Configured).await?;
        let reload = move || load_with_port(port).map(|loaded| loaded.settings).map_err(|error| format!("{error:#}"));
        welcome(&loaded, &app, address, made.as_deref(), "")?;
        app.serve(listeners, Box::new(reload)).await
    })
}

/// The configuration, with the port of the command line over it.
fn load_with_port(port: Option<u16>) -> anyhow::Result<Loaded> {
    let mut loaded = load()?;
    loaded.settings.server.port = port.unwrap_or(loaded.settings.server.port);
    Ok(loaded)
}
