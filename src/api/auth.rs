//! Bearer token → who asks, as extractors: [`Client`] on `/v1`, [`Admin`] on what only an admin may.

use std::{future::Ready, net::IpAddr, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap},
    web::Data,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{ApiError, Edge, cors::Origins};
use crate::{
    config::{AuthMode, Network, Settings},
    domain::{
        Limit,
        client::{Client, ClientKind},
    },
};

/// Keys that members get at run time start with this. Such a key must be valid, whatever the mode.
const MEMBER_PREFIX: &str = "sk-tf-";

/// A key as we keep it: its SHA-256, compared in constant time.
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    fn is(&self, shown: &Self) -> bool {
        self.0.ct_eq(&shown.0).into()
    }

    /// First 8 hex digits: names a key without telling it.
    fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

/// Who may enter, and how much they may bring. Swapped whole on reload.
pub struct Door {
    /// A caller without a known key is welcome as anonymous.
    pub open: bool,
    admin: Option<KeyDigest>,
    shared: Option<(KeyDigest, Arc<str>)>,
    /// `RATE_LIMIT_RPM`, for everybody but the admin.
    limits: Arc<[(Limit, i64)]>,
    /// Whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<Network>,
    pub origins: Origins,
    /// The largest request body.
    pub body_bytes: usize,
}

impl Door {
    /// `made_admin_key`: the one shown at start when the operator set none.
    pub fn new(settings: &Settings, made_admin_key: Option<&KeyDigest>) -> Self {
        let digest = |key: &SecretString| KeyDigest::of(key.expose_secret());
        let shared = settings.api_key.as_ref().map(|key| {
            let digest = digest(key);
            let id = format!("shared:{}", digest.short()).into();
            (digest, id)
        });
        Self {
            open: is_open(settings),
            admin: settings.admin_key.as_ref().map(digest).or_else(|| made_admin_key.cloned()),
            shared,
            limits: settings.rate_limit_rpm.map(|rpm| (Limit::Rpm, rpm)).into_iter().collect(),
            trusted_proxies: settings.trusted_proxies.clone(),
            origins: Origins::new(&settings.allowed_origins),
            body_bytes: settings.body_bytes,
        }
    }

    /// A closed door without any key lets nobody in but the admin, if there is one.
    pub fn has_no_client_key(&self) -> bool {
        self.shared.is_none()
    }

    /// Who shows this token, from this address.
    pub fn enter(&self, token: Option<&str>, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Client, ApiError> {
        if let Some(token) = token {
            let shown = KeyDigest::of(token);
            if self.admin.as_ref().is_some_and(|key| key.is(&shown)) {
                return Ok(Client::new("admin", ClientKind::Admin, []));
            }
            if let Some((key, id)) = &self.shared
                && key.is(&shown)
            {
                return Ok(Client::new(id.clone(), ClientKind::Shared, self.limits.clone()));
            }
            if token.starts_with(MEMBER_PREFIX) || !self.open {
                return Err(ApiError::InvalidKey("This API key is not known here."));
            }
        }
        if !self.open {
            return Err(ApiError::InvalidKey("An API key is required: `Authorization: Bearer <key>`."));
        }
        let from = self.caller(headers, peer).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        Ok(Client::new(format!("anon:{from}"), ClientKind::Anonymous, self.limits.clone()))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(ip))
    }

    /// The rightmost address that is not one of our own proxies: everything left of it, a caller can invent.
    fn caller(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
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

/// What `TOLLFREE_AUTH` says; unset: open to this machine alone, and only while no client key exists.
fn is_open(settings: &Settings) -> bool {
    match settings.auth {
        Some(mode) => mode == AuthMode::Open,
        None => is_loopback(&settings.host) && settings.api_key.is_none(),
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
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn who(request: &HttpRequest) -> Result<Client, ApiError> {
    let edge = request.app_data::<Data<Edge>>().ok_or(ApiError::Internal)?;
    let headers = request.headers();
    edge.door.load().enter(bearer(headers), headers, request.peer_addr().map(|a| a.ip()))
}

impl FromRequest for Client {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(who(request))
    }
}

/// Proof that the admin key was shown.
pub struct Admin;

impl Admin {
    fn check(door: &Door, token: Option<&str>, headers: &HeaderMap) -> Result<Self, ApiError> {
        if door.admin.is_none() {
            return Err(ApiError::AdminKeyNotSet);
        }
        if token.is_none() {
            return Err(ApiError::InvalidKey("The admin key is required: `Authorization: Bearer <admin key>`."));
        }
        match door.enter(token, headers, None)?.kind {
            ClientKind::Admin => Ok(Self),
            ClientKind::Shared | ClientKind::Member => Err(ApiError::AdminRequired),
            ClientKind::Anonymous => Err(ApiError::InvalidKey("This is not the admin key.")),
        }
    }
}

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let edge = request.app_data::<Data<Edge>>();
        std::future::ready(edge.ok_or(ApiError::Internal).and_then(|edge| {
            let headers = request.headers();
            Self::check(&edge.door.load(), bearer(headers), headers)
        }))
    }
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
        let settings = Settings {
            auth: Some(if open { AuthMode::Open } else { AuthMode::Required }),
            admin_key: Some("boss".into()),
            api_key: Some("team".into()),
            rate_limit_rpm: Some(10),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        };
        Door::new(&settings, None)
    }

    #[test]
    fn by_default_only_a_loopback_without_a_client_key_is_open() {
        let open = |host: &str, key: Option<&str>| {
            let settings = Settings { host: host.into(), api_key: key.map(Into::into), ..Settings::default() };
            Door::new(&settings, None).open
        };
        assert!(open("127.0.0.1", None) && open("localhost", None) && open("::1", None));
        assert!(!open("0.0.0.0", None) && !open("::", None) && !open("127.0.0.1", Some("k")));
    }

    fn enter(door: &Door, token: Option<&str>) -> Result<Client, ApiError> {
        door.enter(token, &HeaderMap::new(), Some("203.0.113.7".parse().unwrap()))
    }

    #[test]
    fn an_open_door_lets_strangers_in_but_no_invalid_member_key() {
        let door = door(true);
        assert_eq!(&*enter(&door, None).unwrap().id, "anon:203.0.113.7");
        assert_eq!(&*enter(&door, Some("whatever")).unwrap().id, "anon:203.0.113.7");
        assert!(matches!(enter(&door, Some("sk-tf-x-y")), Err(ApiError::InvalidKey(_))));
    }

    #[test]
    fn a_closed_door_takes_the_shared_key_and_the_admins() {
        let door = door(false);
        assert!(matches!(enter(&door, None), Err(ApiError::InvalidKey(_))));
        assert!(matches!(enter(&door, Some("Team")), Err(ApiError::InvalidKey(_))));
        let shared = enter(&door, Some("team")).unwrap();
        assert_eq!((shared.kind, &shared.limits[..]), (ClientKind::Shared, &[(Limit::Rpm, 10)][..]));
        assert!(shared.id.starts_with("shared:") && !shared.id.contains("team"));
        let admin = enter(&door, Some("boss")).unwrap();
        assert_eq!((admin.kind, admin.limits.len()), (ClientKind::Admin, 0));
    }

    #[test]
    fn only_the_admin_key_opens_the_admins_endpoints() {
        let check = |door: &Door, token| Admin::check(door, token, &HeaderMap::new());
        for open in [true, false] {
            let door = door(open);
            assert!(check(&door, Some("boss")).is_ok());
            assert!(matches!(check(&door, Some("team")), Err(ApiError::AdminRequired)));
            assert!(matches!(check(&door, Some("guess")), Err(ApiError::InvalidKey(_))));
            assert!(matches!(check(&door, None), Err(ApiError::InvalidKey(_))));
        }
        let unset = Door::new(&Settings::default(), None);
        assert!(matches!(check(&unset, Some("boss")), Err(ApiError::AdminKeyNotSet)));
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
