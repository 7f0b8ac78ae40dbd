//! Addresses of images and files that a server fetches on behalf of the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Names that lead to the server's own machine or network.
const PRIVATE_SUFFIXES: [&str; 7] = ["localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain"];

/// Whether a URL leads to the server's own machine or network, as far as its text shows: an address outside the public
/// Internet, a name of a local network, or another scheme than that of the web. `data:` URLs lead nowhere.
pub(super) fn is_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        // Inline Base64 without a scheme, or a path that the server would resolve itself.
        return url.trim_start().starts_with(['/', '\\', '.']);
    };
    match (url.scheme(), url.host()) {
        ("data", _) => false,
        ("http" | "https", Some(Host::Ipv4(ip))) => is_private_address(IpAddr::V4(ip)),
        ("http" | "https", Some(Host::Ipv6(ip))) => is_private_address(IpAddr::V6(ip)),
        ("http" | "https", Some(Host::Domain(name))) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let is_below =
                |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            !name.contains('.') || PRIVATE_SUFFIXES.iter().any(is_below)
        }
        _ => true,
    }
}

fn is_private_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
                || is_shared
                || a == 0
                || a >= 240
                || (a, b) == (198, 18)
                || (a, b) == (198, 19)
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            let is_local = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00;
            is_local
                || ip.is_loopback()
                || ip.is_unspecified()
                || embedded_v4(ip, first, second).is_some_and(|ip| is_private_address(IpAddr::V4(ip)))
        }
    }
}

/// The IPv4 address inside of an address of NAT64 or 6to4.
fn embedded_v4(ip: Ipv6Addr, first: u16, second: u16) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "the 32 bits of an IPv4 address")]
    match (first, second) {
        (0x64, 0xff9b) => Some(Ipv4Addr::from_bits(bits as u32)),
        (0x2002, _) => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn addresses_of_the_servers_own_network_are_private_in_every_spelling() {
        for url in [
            "http://127.0.0.1/x",
            "http://localhost:8080/",
            "HTTP://LocalHost./",
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://0xA9.0xFE.0xA9.0xFE/",
            "http://0251.0376.0251.0376/",
            "http://10.1.2.3",
            "https://192.168.0.1:443/a.png",
            "http://172.31.0.1/",
            "http://100.64.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
            "http://metadata.google.internal/",
            "http://printer.local/",
            "http://redis:6379/",
            "http://user@127.0.0.1/",
            "http:\\\\127.0.0.1\\x",
            "file:///etc/passwd",
            "gopher://1.2.3.4/",
            "//127.0.0.1/x",
            "/etc/passwd",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "https://example.org/a.png",
            "http://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "data:image/png;base64,AAAA",
            "https://127.0.0.1.example.org/",
            "iVBORw0KGgo=",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
