//! Access policy: shared keys, trusted proxies, allowed origins and request size limits. Replaced as a whole on reload.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock},
};

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    api::edge::{config_view::ConfigView, cors::Origins, host_guard::HostGuard},
    config::{AuthMode, Network, Settings},
    domain::{
        KeyDigest, Limit, PriceList,
        client::{Client, ClientKind},
        key::{self, CLIENT_KEY_PREFIX},
    },
    ledger::ResponseBounds,
    protocol::responses::Sealer,
};

/// The key of a gateway with embedded state for which the operator has set none. It lasts as long as the process.
static OWN_SEAL_KEY: LazyLock<Option<String>> = LazyLock::new(|| key::fresh_secret().ok());

#[derive(Clone)]
pub(crate) struct AccessPolicy {
    /// Callers without a known key are served as anonymous clients.
    pub open: bool,
    /// It is open only because no client key exists.
    is_open_by_default: bool,
    pub admin_key: Option<KeyDigest>,
    shared_key: Option<(KeyDigest, Arc<str>)>,
    has_clients: bool,
    /// `RATE_LIMIT_RPM`, for every client but the admin.
    pub limits: Arc<[(Limit, i64)]>,
    /// Peers whose `X-Forwarded-For` is trusted.
    trusted_proxies: Vec<Network>,
    pub origins: Origins,
    /// Set for an open gateway on loopback.
    host_guard: Option<HostGuard>,
    /// Requests of this replica at a time.
    pub in_flight: usize,
    /// Seals what clients keep for the gateway. `None`: replicas share no key for it.
    pub sealer: Option<Arc<Sealer>>,
    /// How responses are stored. `None`: they are not.
    pub responses: Option<ResponseBounds>,
    /// Maximum size of a request body.
    pub body_bytes: usize,
    /// Limit for forms with a recording.
    pub upload_bytes: usize,
    /// The path of a shared host below which the gateway is served, or empty.
    pub base_path: Arc<str>,
    /// What requests would have cost elsewhere, for `GET /admin/v1/usage`.
    pub prices: Arc<PriceList>,
    /// Where clients reach the gateway, without a slash at its end. `None`: where a request came from.
    pub public_url: Option<Arc<str>>,
    /// The settings in force, for `GET /admin/v1/config`.
    pub config: Arc<ConfigView>,
}

/// The sealer of these settings: all replicas must open what one of them has sealed.
fn sealer(settings: &Settings, admin_key: Option<&KeyDigest>) -> Option<Arc<Sealer>> {
    let of = |secret: &str| Sealer::new(secret.as_bytes()).map(Arc::new);
    match (&settings.seal_key, admin_key) {
        (Some(key), _) => of(key.expose_secret()),
        (None, Some(digest)) => of(&digest.hex()),
        (None, None) if settings.redis_url.is_none() => OWN_SEAL_KEY.as_deref().and_then(of),
        (None, None) => None,
    }
}

/// The owner of a presented key, as far as the settings identify it.
pub(crate) enum PresentedKey {
    Admin(KeyDigest),
    Shared(Client),
    /// Has the form of a client key, which only the ledger can check.
    Client,
    Unknown,
}

impl AccessPolicy {
    /// `generated_admin_key`: generated at start because the operator set none. `has_clients`: the ledger held client keys at
    /// start.
    pub(crate) fn new(settings: &Settings, generated_admin_key: Option<&KeyDigest>, has_clients: bool) -> Self {
        let digest = |key: &SecretString| KeyDigest::of(key.expose_secret());
        let shared_key = settings.api_key.as_ref().map(|key| {
            let digest = digest(key);
            let id = format!("shared:{}", digest.short()).into();
            (digest, id)
        });
        let has_clients = has_clients || !settings.clients.records.is_empty();
        let admin_key = settings.admin_key.as_ref().map(digest).or_else(|| generated_admin_key.copied());
        let host = &settings.server.host;
        let is_open_by_default =
            settings.auth.mode.is_none() && is_loopback(host) && shared_key.is_none() && !has_clients;
        let open = is_open_by_default || settings.auth.mode == Some(AuthMode::Open);
        let origins = settings.http.allowed_origins.iter().map(ToString::to_string);
        let of_origins = origins.filter_map(|origin| Some(origin.split_once("://")?.1.to_owned()));
        let hosts = settings.http.hosts.iter().map(ToString::to_string).chain(of_origins).chain([host.clone()]);
        Self {
            open,
            is_open_by_default,
            host_guard: (open && is_loopback(host)).then(|| HostGuard::new(hosts)),
            in_flight: settings.limits.in_flight,
            sealer: sealer(settings, admin_key.as_ref()),
            admin_key,
            shared_key,
            has_clients,
            limits: settings.clients.rate_limit_rpm.map(|rpm| (Limit::Rpm, rpm)).into_iter().collect(),
            trusted_proxies: settings.http.trusted_proxies.clone(),
            origins: Origins::new(&settings.http.allowed_origins),
            responses: settings.responses.store.map(|lifetime| ResponseBounds {
                lifetime,
                bytes_per_client: settings.responses.store_bytes_per_client,
            }),
            body_bytes: settings.http.body_bytes,
            upload_bytes: settings.http.upload_bytes,
            base_path: settings.http.base_path.as_str().into(),
            prices: Arc::new(settings.prices.clone()),
            public_url: settings.server.public_url.as_deref().map(Arc::from),
            config: Arc::new(ConfigView::new(settings)),
        }
    }

    /// The policy after the first client key was made, if that changes it.
    pub(crate) fn with_client_keys(&self) -> Option<Self> {
        let closed = || Self { open: false, is_open_by_default: false, has_clients: true, ..self.clone() };
        self.is_open_by_default.then(closed)
    }

    /// Whether no client key exists: unless the gateway is open, it then serves only the admin.
    pub(crate) fn has_no_client_key(&self) -> bool {
        self.shared_key.is_none() && !self.has_clients
    }

    pub(crate) fn identify(&self, token: &str) -> PresentedKey {
        let digest = KeyDigest::of(token);
        if let Some(admin) = self.admin_key.filter(|key| key.is(&digest)) {
            return PresentedKey::Admin(admin);
        }
        match &self.shared_key {
            Some((key, id)) if key.is(&digest) => {
                PresentedKey::Shared(Client::new(id.clone(), ClientKind::Shared, self.limits.clone()))
            }
            _ if token.starts_with(CLIENT_KEY_PREFIX) => PresentedKey::Client,
            _ => PresentedKey::Unknown,
        }
    }

    /// Whether requests for this `Host` are served.
    pub(crate) fn allows_host(&self, headers: &HeaderMap) -> bool {
        !self.open || self.host_guard.as_ref().is_none_or(|guard| guard.allows(headers))
    }

    /// A caller known only by its address. One subscriber has a whole /64 of IPv6, which counts as one.
    pub(crate) fn anonymous_client(&self, address: Option<IpAddr>) -> Client {
        let (id, shown) = match address {
            Some(IpAddr::V6(ip)) => (format!("anon:{}", subscriber(ip)), Some(format!("anon:{ip}").into())),
            Some(ip) => (format!("anon:{ip}"), None),
            None => ("anon:unknown".to_owned(), None),
        };
        Client { recorded_as: shown, ..Client::new(id, ClientKind::Anonymous, self.limits.clone()) }
    }

    /// Whether the `X-Forwarded-…` headers of this peer are trusted.
    pub(crate) fn trusts_proxy(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(ip))
    }

    /// The rightmost address that is not a trusted proxy: a caller can forge everything to the left of it.
    pub(crate) fn client_address(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        let peer = peer.map(|ip| ip.to_canonical())?;
        if !self.trusts_proxy(peer) {
            return Some(peer);
        }
        let mut client = peer;
        // A proxy appends to what the caller sent, which may be no text: an unreadable hop ends the walk.
        let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").map(HeaderValue::as_bytes).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b',')) {
            let Some(ip) = std::str::from_utf8(hop).ok().and_then(|hop| hop_address(hop.trim())) else { break };
            client = ip;
            if !self.trusts_proxy(ip) {
                break;
            }
        }
        Some(client)
    }
}

/// The network of one subscriber: a /64.
pub(crate) fn subscriber(ip: Ipv6Addr) -> String {
    format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))
}

/// Reachable from this machine alone.
pub(crate) fn is_loopback(host: &str) -> bool {
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

/// Headers that hold a key without a scheme, as the SDKs of Anthropic and of Azure send it.
static KEY_HEADERS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// The key that a request presents: `Authorization: Bearer <key>`, else `x-api-key` or `api-key`. The scheme's case does not
/// matter.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    presented_keys(headers).next()
}

/// Every key that a request presents. Anthropic's SDKs send two where both of their variables are set.
pub(crate) fn presented_keys(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let bearer = text(&AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key);
    let bare = KEY_HEADERS.iter().filter_map(text);
    bearer.into_iter().chain(bare).map(str::trim).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(forwarded: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in forwarded {
            map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line));
        }
        map
    }

    fn policy(open: bool) -> AccessPolicy {
        let mut settings =
            Settings { admin_key: Some("admin-key".into()), api_key: Some("team".into()), ..Settings::default() };
        settings.auth.mode = Some(if open { AuthMode::Open } else { AuthMode::Required });
        settings.clients.rate_limit_rpm = Some(10);
        settings.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        AccessPolicy::new(&settings, None, false)
    }

    #[test]
    fn by_default_only_a_loopback_without_a_client_key_is_open() {
        let open = |host: &str, key: Option<&str>| {
            let mut settings = Settings { api_key: key.map(Into::into), ..Settings::default() };
            settings.server.host = host.into();
            AccessPolicy::new(&settings, None, false).open
        };
        assert!(open("127.0.0.1", None) && open("localhost", None) && open("::1", None));
        assert!(!open("0.0.0.0", None) && !open("::", None) && !open("127.0.0.1", Some("k")));
        let policy = |has_clients| AccessPolicy::new(&Settings::default(), None, has_clients);
        assert!(policy(false).open && !policy(true).open);
    }

    #[test]
    fn a_key_is_read_from_any_of_the_usual_headers_and_a_bearer_token_wins() {
        let with = |lines: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            presented_key(&map).map(str::to_owned)
        };
        assert_eq!(with(&[("authorization", "bearer  one ")]).as_deref(), Some("one"));
        assert_eq!(with(&[("x-api-key", "two")]).as_deref(), Some("two"));
        assert_eq!(with(&[("api-key", "three")]).as_deref(), Some("three"));
        assert_eq!(with(&[("x-api-key", "two"), ("authorization", "Bearer one")]).as_deref(), Some("one"));
        assert_eq!(with(&[("authorization", "Bearer "), ("api-key", "three")]).as_deref(), Some("three"));
        assert_eq!(with(&[("authorization", "Basic b25lOg==")]), None);
        assert_eq!(with(&[("x-api-key", " ")]), None);
    }

    #[test]
    fn keys_are_identified_by_their_settings() {
        for open in [true, false] {
            let policy = policy(open);
            assert!(matches!(policy.identify("admin-key"), PresentedKey::Admin(_)));
            assert!(matches!(policy.identify("Admin-key"), PresentedKey::Unknown));
            assert!(matches!(policy.identify("sk-tf-x-y"), PresentedKey::Client));
            let PresentedKey::Shared(shared) = policy.identify("team") else { panic!() };
            assert_eq!((shared.kind, &shared.limits[..]), (ClientKind::Shared, &[(Limit::Rpm, 10)][..]));
            assert!(shared.id.starts_with("shared:") && !shared.id.contains("team"));
        }
        assert_eq!(&*policy(true).anonymous_client(Some("203.0.113.7".parse().unwrap())).id, "anon:203.0.113.7");
    }

    #[test]
    fn forwarded_for_is_believed_from_a_trusted_proxy_only_up_to_the_first_other_address() {
        let policy = policy(true);
        let caller = |peer: &str, lines: &[&'static str]| {
            policy.client_address(&headers(lines), Some(peer.parse().unwrap())).unwrap().to_string()
        };
        assert_eq!(caller("198.51.100.1", &["1.2.3.4"]), "198.51.100.1");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6", "1.2.3.4:99,10.0.0.9"]), "1.2.3.4");
        assert_eq!(caller("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(caller("10.0.0.1", &["evil, [2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(caller("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        let mut map = headers(&["6.6.6.6"]);
        map.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_bytes(b"\xff, 1.2.3.4").unwrap());
        let caller = policy.client_address(&map, Some("10.0.0.1".parse().unwrap())).unwrap();
        assert_eq!(caller.to_string(), "1.2.3.4", "what is no text ends the walk");
    }

    #[test]
    fn anonymous_callers_of_one_subscriber_count_as_one_and_are_recorded_by_their_address() {
        let policy = policy(true);
        let client = |ip: &str| policy.anonymous_client(Some(ip.parse().unwrap()));
        let (one, two) = (client("2001:db8:1:2::1"), client("2001:db8:1:2:3::4"));
        assert_eq!((&*one.id, &one.id), ("anon:2001:db8:1:2::/64", &two.id));
        assert_eq!(one.recorded_as.as_deref(), Some("anon:2001:db8:1:2::1"));
        assert_ne!(one.id, client("2001:db8:1:3::1").id);
        assert_eq!(client("203.0.113.7").recorded_as, None);
    }
}
