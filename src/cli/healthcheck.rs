//! `tollfree healthcheck`: requests `/readyz` of the gateway on this machine.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail};

use super::load;
use crate::config::Settings;

const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(after_help = "\
Requests http://HOST:PORT/readyz, with HOST and PORT read as `tollfree serve` reads them.

Example, in a Dockerfile:
  HEALTHCHECK --interval=5s CMD [\"tollfree\", \"healthcheck\"]")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> anyhow::Result<()> {
    let settings = load()?.settings;
    let host = host_here(&settings);
    let status = readyz_status(host, settings.server.port)
        .with_context(|| format!("no gateway responds at {host}:{}", settings.server.port))?;
    if status != "200" {
        bail!("not ready: /readyz returned {status}");
    }
    Ok(())
}

/// The host at which a server of these settings is reached on this machine.
pub(super) fn host_here(settings: &Settings) -> &str {
    match settings.server.host.trim_matches(['[', ']']) {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    }
}

/// Whether a gateway of these settings runs on this machine, ready or not.
pub(super) fn is_running(settings: &Settings) -> bool {
    readyz_status(host_here(settings), settings.server.port)
        .is_ok_and(|status| matches!(status.as_str(), "200" | "503"))
}

fn readyz_status(host: &str, port: u16) -> anyhow::Result<String> {
    let (mut stream, address) = connect(host, port)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    // "HTTP/1.1 200" is twelve bytes.
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    Ok(String::from_utf8_lossy(&line[9..]).into_owned())
}

/// Connects to the first address of the host that accepts.
fn connect(host: &str, port: u16) -> anyhow::Result<(TcpStream, SocketAddr)> {
    let mut result = Err(anyhow::anyhow!("the host has no address"));
    for address in (host, port).to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, TIMEOUT).map_err(Into::into).map(|stream| (stream, address));
        if result.is_ok() {
            break;
        }
    }
    result
}
