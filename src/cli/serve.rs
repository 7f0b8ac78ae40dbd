//! `tollfree serve`: the gateway.

use std::{
    io::{IsTerminal, stdout},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use super::{demo, load, print, runtime};
use crate::{
    app::{self, App, Storage},
    config::{Loaded, LogFormat, Settings},
    telemetry, upstream,
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

/// The bound listeners, and the address of the first, which differs from the settings if their port is 0.
pub(super) async fn listen(settings: &Settings) -> anyhow::Result<(Vec<TcpListener>, SocketAddr)> {
    let listeners = app::bind(&settings.server.host, settings.server.port).await?;
    let address = listeners.first().context("no listener")?.local_addr()?;
    Ok((listeners, address))
}

/// Runs `work` with the log and the exporters of the settings, and flushes them at the end. Unless `log.format` is set, the
/// log is text on a terminal and JSON elsewhere.
pub(super) fn with_telemetry(loaded: &Loaded, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let telemetry = {
        let _on = runtime.enter();
        let settings = &loaded.settings;
        let is_for_people = !is_set(loaded, "log.format") && std::io::stderr().is_terminal();
        let json = settings.log.format == LogFormat::Json && !is_for_people;
        let post = upstream::http_post(app::proxy(settings))?;
        telemetry::start(&settings.log.level, json, &settings.telemetry, &post).map_err(anyhow::Error::msg)?
    };
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let result = runtime.block_on(work);
    telemetry.finish(if result.is_ok() { FLUSH_TIMEOUT } else { FLUSH_TIMEOUT_AFTER_ERROR });
    result
}

const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
const FLUSH_TIMEOUT_AFTER_ERROR: Duration = Duration::from_millis(300);

fn is_set(loaded: &Loaded, name: &str) -> bool {
    loaded.settings.sources.iter().any(|setting| setting.name == name && setting.source != "default")
}

/// An admin key for this run, shown once. Only for one person at a terminal with embedded state: a team sets one.
pub(super) fn made_admin_key(settings: &Settings) -> Option<String> {
    let is_one_person = stdout().is_terminal() && settings.redis_url.is_none() && settings.admin_key.is_none();
    is_one_person.then(|| format!("tf-admin-{}", uuid::Uuid::new_v4().simple()))
}

/// Prints the address, an example call and the dashboard. Not where JSON logs are configured.
pub(super) fn welcome(
    loaded: &Loaded,
    app: &Arc<App>,
    address: SocketAddr,
    made: Option<&str>,
    banner: &str,
) -> anyhow::Result<()> {
    let (models, providers) = app.offer();
    let providers = providers.join(", ");
    tracing::info!(server.address = %address, models, providers, "Listening on http://{address}");
    if loaded.settings.log.format == LogFormat::Json && is_set(loaded, "log.format") {
        return Ok(());
    }
    let offer = match models {
        0 => {
            "Tollfree is running, but no provider is configured: set a key such as GROQ_API_KEY, or run `tollfree demo`."
                .to_owned()
        }
        1 => format!("Tollfree serves 1 model of {providers}."),
        _ => format!("Tollfree serves {models} models of {providers}."),
    };
    let url = url(address);
    let key = if app.is_open() { "" } else { " \\\n    -H \"authorization: Bearer $TOLLFREE_API_KEY\"" };
    let log_in = match (made, &loaded.settings.admin_key) {
        (Some(key), _) => format!("with the admin key {key} (of this run; set TOLLFREE_ADMIN_KEY to have your own)"),
        (None, Some(_)) => "with your TOLLFREE_ADMIN_KEY".to_owned(),
        (None, None) => "set TOLLFREE_ADMIN_KEY first".to_owned(),
    };
    print(&format!(
        "
{banner}{offer}

  URL        {url}/v1
  Try it     curl {url}/v1/chat/completions{key} \\
    -H 'content-type: application/json' \\
    -d '{{\"model\": \"free\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'
  Dashboard  {url}/dashboard
  Log in     {log_in}
"
    ))
}

/// The URL to call on this machine. An address of all interfaces cannot be called.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_shown_can_be_called_from_this_machine() {
        assert_eq!(url("0.0.0.0:3000".parse().unwrap()), "http://localhost:3000");
        assert_eq!(url("[::]:80".parse().unwrap()), "http://localhost:80");
        assert_eq!(url("[::1]:80".parse().unwrap()), "http://[::1]:80");
    }
}
