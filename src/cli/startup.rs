//! Start-up steps that `serve` and `demo` share: listeners, telemetry, admin key and the welcome message.

use std::{
    io::{IsTerminal, stdout},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use super::{print, runtime};
use crate::{
    app::{self, App},
    config::{Loaded, LogFormat, Settings},
    telemetry, upstream,
};

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
