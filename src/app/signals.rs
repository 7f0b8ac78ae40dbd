//! Signals: SIGHUP reloads the settings. SIGTERM and SIGINT drain: the replica turns unready, finishes the accepted requests,
//! settles their leases and exits.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::bail;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{App, Reload, listen::AcceptGate};

/// Time for running requests to end after SIGTERM. Orchestrators may kill the process earlier.
const FINISH_TIMEOUT: Duration = Duration::from_mins(5);
/// Time for the server to stop accepting after it was paused.
const PAUSE_DELAY: Duration = Duration::from_millis(50);
/// Time for the settlements and journal records of the last requests.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same after a second signal.
const FORCED_SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns when the server has stopped and everything is settled.
pub(super) async fn run_until_signalled(
    app: &App,
    reload: &Reload,
    server: ServerHandle,
    gate: AcceptGate,
) -> anyhow::Result<()> {
    let mut shutdown = ShutdownSignal::new()?;
    // Taken, and ignored: a file that may not grow is an error of its write and does not end the process.
    let _too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    let mut hup = signal(SignalKind::hangup())?;
    let grace = loop {
        tokio::select! {
            _ = hup.recv() => reload_settings(app, reload).await,
            grace = shutdown.first(Duration::from_millis(app.settings.load().shutdown.grace_ms)) => break grace,
        }
    };
    let finished = tokio::select! {
        () = drain(app, &server, &gate, grace) => true,
        () = shutdown.again() => false,
    };
    if finished {
        app.tasks.join_all(SETTLE_TIMEOUT).await;
        server.stop(true).await;
        if app.tasks.drain(SETTLE_TIMEOUT).await {
            info!("Everything is settled");
        } else {
            warn!(
                "Some leases were not settled within {} s: their unused units stay charged",
                SETTLE_TIMEOUT.as_secs()
            );
        }
        return Ok(());
    }
    app.tasks.join_all(FORCED_SETTLE_TIMEOUT).await;
    server.stop(false).await;
    app.tasks.drain(FORCED_SETTLE_TIMEOUT).await;
    bail!("stopped by a second signal before all requests were finished")
}

pub(super) async fn reload_settings(app: &App, reload: &Reload) {
    let result = match reload() {
        Ok(settings) => app.reload(settings).await.map_err(|e| format!("{e:#}")),
        Err(message) => Err(message),
    };
    if let Err(message) = result {
        error!("Kept the old configuration: {message}");
    }
}

/// Load balancers notice with a delay that this replica is unready. Until then it still serves new requests.
async fn drain(app: &App, server: &ServerHandle, gate: &AcceptGate, grace: Duration) {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    info!(grace_ms, "Draining: no longer ready, still accepting requests for {grace_ms} ms");
    app.state.start_draining();
    sleep(grace).await;
    server.pause().await;
    sleep(PAUSE_DELAY).await;
    gate.close();
    info!("Closed the listener, finishing the accepted requests");
    if timeout(FINISH_TIMEOUT, app.state.wait_until_idle()).await.is_err() {
        warn!("Cancelled the requests still running after {} s", FINISH_TIMEOUT.as_secs());
    }
}

/// The signals that end the process.
struct ShutdownSignal {
    term: Signal,
    int: Signal,
}

impl ShutdownSignal {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal and returns how long to keep accepting requests. Ctrl-C (SIGINT) needs no grace period.
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
