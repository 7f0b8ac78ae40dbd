//! The listening socket. It can be closed while accepted connections stay open.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use anyhow::{Context, bail};
use tokio::net::{TcpSocket, lookup_host};

/// Connections waiting to be accepted. If a burst overflows it, the kernel retransmits only after a second.
const BACKLOG: u32 = 1_024;

/// Listens on the first available address of the host.
pub async fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> =
        lookup_host((bare, port)).await.with_context(|| format!("HOST `{host}` is not an address here"))?.collect();
    let mut refused = None;
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some((address, error)),
        }
    }
    match refused {
        Some((address, error)) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is in use by another program: stop it, or choose another port with PORT")
        }
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

/// Closes the listening socket independently of the server that accepts from it.
pub(super) struct AcceptGate(TcpStream);

impl AcceptGate {
    pub fn new(listener: &TcpListener) -> std::io::Result<Self> {
        Ok(Self(TcpStream::from(OwnedFd::from(listener.try_clone()?))))
    }

    /// From now on the kernel refuses connections. The server must have stopped accepting before.
    pub fn close(&self) {
        // Not every platform supports this for listening sockets; callers then wait in the backlog.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("127.0.0.1", 0).await.unwrap();
        let address = first.local_addr().unwrap();
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
    async fn a_closed_gate_refuses_while_the_listener_still_lives() {
        let listener = bind("127.0.0.1", 0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = AcceptGate::new(&listener).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        gate.close();
        assert!(TcpStream::connect(address).is_err());
        drop(listener);
    }
}
