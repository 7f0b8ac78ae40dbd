//! `tollfree serve`: the gateway.

use std::{
    io::{IsTerminal, stdout},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::{demo, load, runtime, say};
use crate::{
    app::{self, App, Storage},
    config::{Loaded, LogFormat, Settings},
    telemetry, upstream,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  GROQ_API_KEY=gsk_a,gsk_b tollfree serve     two keys, each its own account
  HOST=0.0.0.0 TOLLFREE_API_KEY=… TOLLFREE_ADMIN_KEY=… REDIS_URL=redis://… tollfree serve

Signals: HUP reads the configuration again (a wrong one changes nothing); TERM and Ctrl-C finish
what was accepted, settle it and end; a second one ends at once.")]
pub struct Arguments {
    /// Start the demo where no provider is configured and no local Ollama runs
    #[arg(long)]
    or_demo: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load()?;
    with_telemetry(&loaded, async {
        // First, because a taken port is the likeliest mistake and needs no state to be seen.
        let (listener, address) = listen(&loaded.settings).await?;
        if arguments.or_demo && !app::finds_provider(&loaded.settings).await? {
            return demo::gateway(loaded.clone(), &demo::Arguments::default(), listener, address).await;
        }
        let made = made_admin_key(&loaded.settings);
        let app = App::open(loaded.settings.clone(), made.as_deref(), Storage::Configured).await?;
        let reload = || load().map(|loaded| loaded.settings).map_err(|error| format!("{error:#}"));
        welcome(&loaded, &app, address, made.as_deref(), "");
        app.serve(listener, Box::new(reload)).await
    })
}

/// The bound listener, and the address it got (a port of 0 is any that is free).
pub async fn listen(settings: &Settings) -> anyhow::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = app::bind(&settings.server.host, settings.server.port).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Runs `work` with the log and all that leaves the process as asked for, and sends what is left of it in the end. When
/// nothing was asked for the log is lines for people on a terminal and JSON elsewhere.
pub fn with_telemetry(loaded: &Loaded, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let started = {
        let _on = runtime.enter();
        let settings = &loaded.settings;
        let for_people = !is_set(loaded, "log.format") && std::io::stderr().is_terminal();
        let json = settings.log.format == LogFormat::Json && !for_people;
        let post = upstream::http_post(settings.https_proxy.as_ref().map(|proxy| proxy.to_string()))?;
        telemetry::start(&settings.log.level, json, &settings.telemetry, &post).map_err(anyhow::Error::msg)?
    };
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let ended = runtime.block_on(work);
    started.finish(if ended.is_ok() { LAST_WORDS } else { LAST_WORDS_NOW });
    ended
}

/// For a collector to take what is left when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The same when the process ends at once.
const LAST_WORDS_NOW: Duration = Duration::from_millis(300);

fn is_set(loaded: &Loaded, name: &str) -> bool {
    loaded.settings.sources.iter().any(|setting| setting.name == name && setting.source != "default")
}

/// One person at a terminal, with state of their own, gets an admin key for this run. A team sets one.
pub fn made_admin_key(settings: &Settings) -> Option<String> {
    let one_person = stdout().is_terminal() && settings.redis_url.is_none() && settings.admin_key.is_none();
    one_person.then(|| format!("tf-admin-{}", uuid::Uuid::new_v4().simple()))
}

/// Where it is, how to call it, how to look at it. A log collector that asked for JSON is spared.
pub fn welcome(loaded: &Loaded, app: &Arc<App>, address: SocketAddr, made: Option<&str>, banner: &str) {
    let (models, providers) = app.offer();
    let providers = providers.join(", ");
    tracing::info!(server.address = %address, models, providers, "Listening on http://{address}");
    if loaded.settings.log.format == LogFormat::Json && is_set(loaded, "log.format") {
        return;
    }
    let offer = match models {
        0 => {
            "Tollfree runs, but no provider is configured yet: set a key such as GROQ_API_KEY, or run `tollfree demo`."
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
    say(&format!(
        "
{banner}{offer}

  URL        {url}/v1
  Try it     curl {url}/v1/chat/completions{key} \\
    -H 'content-type: application/json' \\
    -d '{{\"model\": \"free\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'
  Dashboard  {url}/dashboard
  Log in     {log_in}
"
    ));
}

/// What to type on this machine: an address for all interfaces is not one to call.
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
