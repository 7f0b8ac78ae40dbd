//! Which `Host` an open gateway on this machine answers. A page of any web site can have its name resolved to 127.0.0.1 (DNS
//! rebinding); for the browser it then has the gateway's origin, and only the `Host` shows whose page it is.

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap};

/// The names that are served, beside those of this machine.
#[derive(Debug, Clone)]
pub(crate) struct HostGuard {
    names: Vec<String>,
}

impl HostGuard {
    /// Names are taken from `http.hosts`, and from the origins whose pages may call.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| bare(&name).to_ascii_lowercase()).collect() }
    }

    /// Whether a request is served. Addresses cannot be rebound, nor can names without a dot, which are no one's on the Internet.
    /// Every browser sends the header.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = bare(host.trim()).trim_end_matches('.').to_ascii_lowercase();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || !name.contains('.') || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

/// Without the port.
fn bare(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_and_configured_ones_are_served() {
        let guard = HostGuard::new(["gate.lan:3000".to_owned()]);
        let allows = |host: &str| guard.allows(&HeaderMap::from_iter([(HOST, host.parse().unwrap())]));
        for host in [
            "127.0.0.1:3000",
            "localhost",
            "LOCALHOST:1",
            "a.localhost:3000",
            "[::1]:3000",
            "::1",
            "192.168.0.9",
            "Gate.lan",
            "localhost.",
            "gateway:3000",
        ] {
            assert!(allows(host), "{host}");
        }
        for host in ["evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example."] {
            assert!(!allows(host), "{host}");
        }
        assert!(guard.allows(&HeaderMap::new()));
    }
}
