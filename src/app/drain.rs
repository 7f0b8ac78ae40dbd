//! What signals do: reload on SIGHUP; on SIGTERM first be seen as not ready, then finish what was accepted, then settle.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::bail;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{App, Reload, listen::Gate};

/// A stream may take this long to end after SIGTERM. Orchestrators kill earlier by their own setting.
const FINISH: Duration = Duration::from_mins(5);
/// For the server to have stopped accepting after it said so.
const PAUSE: Duration = Duration::from_millis(50);
/// For the settles and the journal of the last requests.
const SETTLE: Duration = Duration::from_secs(10);
/// The same when a second signal says "now".
const SETTLE_NOW: Duration = Duration::from_millis(500);

/// Returns when the server has stopped and everything is settled.
pub async fn until_signalled(app: &App, reload: Reload, server: ServerHandle, gate: Gate) -> anyhow::Result<()> {
    let mut ends = Ends::new()?;
    let mut hup = signal(SignalKind::hangup())?;
    let grace = loop {
        tokio::select! {
            _ = hup.recv() => take_over(app, &reload).await,
            grace = ends.first(Duration::from_millis(app.settings.load().shutdown.grace_ms)) => break grace,
        }
    };
    let finished = tokio::select! {
        () = drain(app, &server, &gate, grace) => true,
        () = ends.again() => false,
    };
    if finished {
        app.tasks.gather(SETTLE).await;
        server.stop(true).await;
        if app.tasks.drain(SETTLE).await {
            info!("Everything is settled");
        } else {
            warn!(
                "Some settles were not written in {} s: what they would have given back stays charged",
                SETTLE.as_secs()
            );
        }
        return Ok(());
    }
    app.tasks.gather(SETTLE_NOW).await;
    server.stop(false).await;
    app.tasks.drain(SETTLE_NOW).await;
    bail!("stopped by a second signal before all requests were finished")
}

async fn take_over(app: &App, reload: &Reload) {
    let taken = match reload() {
        Ok(settings) => app.reload(settings).await.map_err(|e| format!("{e:#}")),
        Err(words) => Err(words),
    };
    if let Err(words) = taken {
        error!("The configuration stays as it was: {words}");
    }
}

/// Balancers need a moment to see that we are not ready: until then new requests still come and are served.
async fn drain(app: &App, server: &ServerHandle, gate: &Gate, grace: Duration) {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    info!(grace_ms, "Draining: not ready from now on, still serving for {grace_ms} ms");
    app.edge.start_draining();
    sleep(grace).await;
    server.pause().await;
    sleep(PAUSE).await;
    gate.close();
    info!("Closed the listener, finishing what was accepted");
    if timeout(FINISH, app.edge.idle()).await.is_err() {
        warn!("Cut requests that were still running after {} s", FINISH.as_secs());
    }
}

/// The signals that end us.
struct Ends {
    term: Signal,
    int: Signal,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// How long to go on serving: whoever presses Ctrl-C has no balancer that must be told.
    async fn first(&mut self, grace: Duration) -> Duration {
        tokio::select! {
            _ = self.term.recv() => grace,
            _ = self.int.recv() => Duration::ZERO,
        }
    }

    async fn again(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
