//! A TCP proxy that can delay, stall or cut its connections.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

use super::listen;

/// Fault of the connections, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkFault {
    None,
    /// Data is delayed by this time.
    Delay(Duration),
    /// Connections stay open, but no data passes.
    Hold,
    /// Existing connections are cut, and new ones are closed immediately.
    Cut,
}

pub(crate) struct ChaosProxy {
    fault: watch::Sender<NetworkFault>,
    port: u16,
    /// Ends the listener and every connection when the proxy is dropped.
    _tasks: JoinSet<()>,
}

impl ChaosProxy {
    pub(crate) async fn to(target_port: u16) -> Self {
        let fault = watch::Sender::new(NetworkFault::None);
        let receiver = fault.subscribe();
        let (port, tasks) = listen(0, move |near| relay(near, target_port, receiver.clone())).await;
        Self { fault, port, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, fault: NetworkFault) {
        self.fault.send_replace(fault);
    }
}

async fn relay(near: TcpStream, target_port: u16, fault: watch::Receiver<NetworkFault>) {
    if *fault.borrow() == NetworkFault::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", target_port)).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near, far) = (near.into_split(), far.into_split());
    let mut until_cut = fault.clone();
    tokio::select! {
        () = pass(near.0, far.1, fault.clone()) => {}
        () = pass(far.0, near.1, fault) => {}
        _ = until_cut.wait_for(|fault| *fault == NetworkFault::Cut) => {}
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut fault: watch::Receiver<NetworkFault>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if fault.wait_for(|fault| *fault != NetworkFault::Hold).await.is_err() {
            return;
        }
        let now = *fault.borrow();
        if let NetworkFault::Delay(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
