//! Who may enter, and how much they may bring: the keys, addresses and bounds of the settings. Swapped whole on reload.

use std::{net::IpAddr, sync::Arc};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    api::{admin::audit::ConfigView, edge::cors::Origins},
    config::{AuthMode, Network, Settings},
    domain::{
        KeyDigest, Limit,
        client::{Client, ClientKind},
        key::CLIENT_KEY_PREFIX,
    },
};

/// Who may enter, and how much they may bring.
pub struct Door {
    /// A caller without a known key is welcome as anonymous.
    pub open: bool,
    pub admin: Option<KeyDigest>,
    shared: Option<(KeyDigest, Arc<str>)>,
    has_members: bool,
    /// `RATE_LIMIT_RPM`, for everybody but the admin.
    pub limits: Arc<[(Limit, i64)]>,
    /// Whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<Network>,
    pub origins: Origins,
    /// The largest request body.
    pub body_bytes: usize,
    /// What is set, for the admin.
    pub config: Arc<ConfigView>,
}

/// Whose key is shown, as far as the settings tell.
pub enum Shown {
    Admin(KeyDigest),
    Shared(Client),
    /// To be looked for among the members.
    Member,
    /// Nobody's.
    Unknown,
}

impl Door {
    /// `made_admin_key`: the one shown at start when the operator set none. `has_members`: the ledger held keys at start.
    pub fn new(settings: &Settings, made_admin_key: Option<&KeyDigest>, has_members: bool) -> Self {
        let digest = |key: &SecretString| KeyDigest::of(key.expose_secret());
        let shared = settings.api_key.as_ref().map(|key| {
            let digest = digest(key);
            let id = format!("shared:{}", digest.short()).into();
            (digest, id)
        });
        let has_members = has_members || !settings.clients.records.is_empty();
        Self {
            open: match settings.auth.mode {
                Some(mode) => mode == AuthMode::Open,
                None => is_loopback(&settings.server.host) && shared.is_none() && !has_members,
            },
            admin: settings.admin_key.as_ref().map(digest).or_else(|| made_admin_key.copied()),
            shared,
            has_members,
            limits: settings.clients.rate_limit_rpm.map(|rpm| (Limit::Rpm, rpm)).into_iter().collect(),
            trusted_proxies: settings.http.trusted_proxies.clone(),
            origins: Origins::new(&settings.http.allowed_origins),
            body_bytes: settings.http.body_bytes,
            config: Arc::new(ConfigView::of(settings)),
        }
    }

    /// A closed door without any key lets nobody in but the admin, if there is one.
    pub fn has_no_client_key(&self) -> bool {
        self.shared.is_none() && !self.has_members
    }

    /// Whose key this is.
    pub fn shown(&self, token: &str) -> Shown {
        let digest = KeyDigest::of(token);
        if let Some(admin) = self.admin.filter(|key| key.is(&digest)) {
            return Shown::Admin(admin);
        }
        match &self.shared {
            Some((key, id)) if key.is(&digest) => {
                Shown::Shared(Client::new(id.clone(), ClientKind::Shared, self.limits.clone()))
            }
            _ if token.starts_with(CLIENT_KEY_PREFIX) => Shown::Member,
            _ => Shown::Unknown,
        }
    }

    /// A caller of whom nothing is known but where it is.
    pub fn stranger(&self, address: Option<IpAddr>) -> Client {
        let id = match address {
            Some(ip) => format!("anon:{ip}"),
            None => "anon:unknown".to_owned(),
        };
        Client::new(id, ClientKind::Anonymous, self.limits.clone())
    }

    /// Whether headers that a proxy sets may be believed.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(ip))
    }

    /// The rightmost address that is not one of our own proxies: everything left of it, a caller can invent.
    pub fn caller(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        let peer = peer.map(|ip| ip.to_canonical())?;
        if !self.trusts(peer) {
            return Some(peer);
        }
        let mut seen = peer;
        let lines: Vec<&str> = headers.get_all("x-forwarded-for").filter_map(|v| v.to_str().ok()).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(ip) = hop_address(hop.trim()) else { break };
            seen = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        Some(seen)
    }
}

/// Reachable from this machine alone.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.parse::<IpAddr>().ok();
    bare.or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|ip| ip.to_canonical())
}

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(forwarded: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in forwarded {
            map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line));
        }
        map
    }

    fn door(open: bool) -> Door {
        let mut settings =
            Settings { admin_key: Some("boss".into()), api_key: Some("team".into()), ..Settings::default() };
        settings.auth.mode = Some(if open { AuthMode::Open } else { AuthMode::Required });
        settings.clients.rate_limit_rpm = Some(10);
        settings.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        Door::new(&settings, None, false)
    }

    #[test]
    fn by_default_only_a_loopback_without_a_client_key_is_open() {
        let open = |host: &str, key: Option<&str>| {
            let mut settings = Settings { api_key: key.map(Into::into), ..Settings::default() };
            settings.server.host = host.into();
            Door::new(&settings, None, false).open
        };
        assert!(open("127.0.0.1", None) && open("localhost", None) && open("::1", None));
        assert!(!open("0.0.0.0", None) && !open("::", None) && !open("127.0.0.1", Some("k")));
        let door = |has_members| Door::new(&Settings::default(), None, has_members);
        assert!(door(false).open && !door(true).open);
    }

    #[test]
    fn keys_are_told_apart() {
        for open in [true, false] {
            let door = door(open);
            assert!(matches!(door.shown("boss"), Shown::Admin(_)));
            assert!(matches!(door.shown("Boss"), Shown::Unknown));
            assert!(matches!(door.shown("sk-tf-x-y"), Shown::Member));
            let Shown::Shared(shared) = door.shown("team") else { panic!() };
            assert_eq!((shared.kind, &shared.limits[..]), (ClientKind::Shared, &[(Limit::Rpm, 10)][..]));
            assert!(shared.id.starts_with("shared:") && !shared.id.contains("team"));
        }
        assert_eq!(&*door(true).stranger(Some("203.0.113.7".parse().unwrap())).id, "anon:203.0.113.7");
    }

    #[test]
    fn forwarded_for_is_believed_from_a_trusted_proxy_only_up_to_the_first_stranger() {
        let door = door(true);
        let caller = |peer: &str, lines: &[&'static str]| {
            door.caller(&headers(lines), Some(peer.parse().unwrap())).unwrap().to_string()
        };
        assert_eq!(caller("198.51.100.1", &["1.2.3.4"]), "198.51.100.1");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6", "1.2.3.4:99,10.0.0.9"]), "1.2.3.4");
        assert_eq!(caller("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(caller("10.0.0.1", &["evil, [2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(caller("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
    }
}
