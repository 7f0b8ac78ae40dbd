//! The listening sockets. They can be closed while accepted connections stay open.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use anyhow::{Context, bail};
use tokio::net::{TcpSocket, lookup_host};

/// Connections waiting to be accepted. If a burst overflows it, the kernel retransmits only after a second.
const BACKLOG: u32 = 1_024;

/// Listens on every address of the host: `localhost` has one of each IP version, whatever the resolver of this machine says,
/// because browsers do not ask it. Addresses that this machine does not have are skipped, as long as one is left.
pub(crate) async fn bind(host: &str, port: u16) -> anyhow::Result<Vec<TcpListener>> {
    let bare = host.trim_matches(['[', ']']);
    let mut addresses: BTreeSet<SocketAddr> =
        lookup_host((bare, port)).await.with_context(|| format!("HOST `{host}` is not an address here"))?.collect();
    if bare.eq_ignore_ascii_case("localhost") {
        addresses.extend([(Ipv4Addr::LOCALHOST, port).into(), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]);
    }
    let (mut listeners, mut skipped) = (Vec::<TcpListener>::new(), None);
    for mut address in addresses {
        // Port 0 is any free port, and the same one at every address.
        if let (0, Some(first)) = (port, listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!("{address} is in use by another program: stop it, or choose another port with PORT")
            }
            Err(error) => skipped = Some((address, error)),
        }
    }
    match skipped {
        _ if !listeners.is_empty() => Ok(listeners),
        Some((address, error)) => Err(error).with_context(|| format!("cannot listen on {address}")),
        None => bail!("HOST `{host}` has no address"),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?; // a restart need not wait for old connections to time out
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Closes the listening sockets independently of the server that accepts from them.
pub(super) struct AcceptGate(Vec<TcpStream>);

impl AcceptGate {
    pub(super) fn new(listeners: &[TcpListener]) -> std::io::Result<Self> {
        let handle = |listener: &TcpListener| Ok(TcpStream::from(OwnedFd::from(listener.try_clone()?)));
        listeners.iter().map(handle).collect::<std::io::Result<_>>().map(Self)
    }

    /// From now on the kernel refuses connections. The server must have stopped accepting before.
    pub(super) fn close(&self) {
        for listener in &self.0 {
            // Not every platform supports this for listening sockets; callers then wait in the backlog.
            let _ = listener.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("127.0.0.1", 0).await.unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind("127.0.0.1", address.port()).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address} is in use")), "{error}");
    }

    #[tokio::test]
    async fn hosts_are_addresses_or_names_and_a_wrong_one_is_named() {
        for host in ["localhost", "127.0.0.1", "0.0.0.0"] {
            assert!(bind(host, 0).await.is_ok(), "{host}");
        }
        let error = bind("no such host", 0).await.unwrap_err().to_string();
        assert!(error.contains("HOST `no such host`"), "{error}");
    }

    #[tokio::test]
    async fn localhost_is_served_at_all_of_its_addresses_on_one_port() {
        let listeners = bind("localhost", 0).await.unwrap();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()), "{addresses:?}");
        for address in addresses {
            assert!(TcpStream::connect(address).is_ok(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_closed_gate_refuses_while_the_listener_still_lives() {
        let listeners = bind("127.0.0.1", 0).await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        let gate = AcceptGate::new(&listeners).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        gate.close();
        assert!(TcpStream::connect(address).is_err());
        drop(listeners);
    }
}
