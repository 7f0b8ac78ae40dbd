//! `tollfree healthcheck`: asks the gateway on this machine whether it is ready, with nothing but a socket.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail};

use super::load;
use crate::config::Settings;

const WITHIN: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(after_help = "\
Asks http://HOST:PORT/readyz, with HOST and PORT as `tollfree serve` would read them.

Example, in a Dockerfile:
  HEALTHCHECK --interval=5s CMD [\"tollfree\", \"healthcheck\"]")]
pub struct Arguments {}

pub fn run(_: &Arguments) -> anyhow::Result<()> {
    let settings = load()?.settings;
    let host = host_here(&settings);
    let status = ask(host, settings.server.port)
        .with_context(|| format!("no gateway answers on {host}:{}", settings.server.port))?;
    if status != "200" {
        bail!("not ready: /readyz answers {status}");
    }
    Ok(())
}

/// Where a server of these settings is reached on this machine.
pub fn host_here(settings: &Settings) -> &str {
    match settings.server.host.trim_matches(['[', ']']) {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    }
}

/// Whether a gateway of these settings runs on this machine, ready or not.
pub fn is_running(settings: &Settings) -> bool {
    ask(host_here(settings), settings.server.port).is_ok_and(|status| matches!(status.as_str(), "200" | "503"))
}

/// The status of `/readyz`.
fn ask(host: &str, port: u16) -> anyhow::Result<String> {
    let address = (host, port).to_socket_addrs()?.next().context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    // "HTTP/1.1 200" is twelve bytes.
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    Ok(String::from_utf8_lossy(&line[9..]).into_owned())
}
