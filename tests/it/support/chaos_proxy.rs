//! A TCP proxy that cuts, delays or holds what passes through it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

use super::listen;

/// What happens to bytes on their way, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Every piece arrives this much later.
    Slow(Duration),
    /// Connections stay, nothing passes.
    Hold,
    /// Existing connections are reset, new ones closed at once.
    Cut,
}

pub(crate) struct ChaosProxy {
    weather: watch::Sender<Weather>,
    port: u16,
    /// Dropped with the proxy: ends the accepting task and every connection.
    _tasks: JoinSet<()>,
}

impl ChaosProxy {
    pub(crate) async fn to(target_port: u16) -> Self {
        let weather = watch::Sender::new(Weather::Fair);
        let seen = weather.subscribe();
        let (port, tasks) = listen(0, move |near| between(near, target_port, seen.clone())).await;
        Self { weather, port, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn between(near: TcpStream, target_port: u16, seen: watch::Receiver<Weather>) {
    if *seen.borrow() == Weather::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", target_port)).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near, far) = (near.into_split(), far.into_split());
    let mut until_cut = seen.clone();
    tokio::select! {
        () = pass(near.0, far.1, seen.clone()) => {}
        () = pass(far.0, near.1, seen) => {}
        _ = until_cut.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if weather.wait_for(|weather| *weather != Weather::Hold).await.is_err() {
            return;
        }
        let now = *weather.borrow();
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
