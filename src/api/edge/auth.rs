//! Bearer token or session → who asks, as extractors: [`Client`] on `/v1`, [`Admin`] and [`Order`] on what only an admin may.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::JsonPayloadError,
    http::{
        Version,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    web::{Data, Json},
};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::DeserializeOwned;

use crate::{
    api::{
        admin::{controls::bad_body, session},
        edge::{
            access_policy::{Door, Shown, bearer},
            error::ApiError,
            flow_error,
            state::Edge,
        },
    },
    domain::{Client, KeyDigest, client::ClientKind},
    ledger::{AuthenticationError, ChangedBy},
};

/// A member's record may be so old for an answer that spends nothing. What spends is compared by its admission.
const AFRESH: Duration = Duration::ZERO;
/// Names of wrong keys that are told apart by nothing else.
const ADMIN: &str = "admin";

/// What every look at a request's credentials starts from.
pub(crate) struct Look {
    pub edge: Data<Edge>,
    pub door: Arc<Door>,
    pub address: Option<IpAddr>,
}

impl Look {
    pub fn at(request: &HttpRequest) -> Result<Self, ApiError> {
        let edge = request.app_data::<Data<Edge>>().ok_or(ApiError::Internal)?.clone();
        let door = edge.door.load_full();
        let address = door.caller(request.headers(), request.peer_addr().map(|a| a.ip()));
        Ok(Self { edge, door, address })
    }

    /// An admin at this address.
    pub fn by(&self) -> ChangedBy {
        ChangedBy { actor: ADMIN, address: self.address.map(|ip| ip.to_string()) }
    }

    /// How long this address is not listened to, having shown too many wrong admin keys. `wrong`: the name of another one.
    async fn silence(&self, wrong: Option<&str>) -> Result<Duration, ApiError> {
        if self.door.admin.is_none() {
            return Ok(Duration::ZERO);
        }
        self.edge.flow.ledger.login_block(&neighbourhood(self.address), wrong).await.map_err(|e| flow_error::ledger(&e))
    }

    /// The right admin key was shown: good, unless this address has been guessing.
    pub async fn right_key(&self) -> Result<(), ApiError> {
        let silence = self.silence(None).await?;
        if silence.is_zero() { Ok(()) } else { Err(too_many(silence)) }
    }

    /// A wrong admin key was shown where nothing else is taken.
    pub async fn wrong_key(&self) -> ApiError {
        let name = uuid::Uuid::new_v4().simple().to_string();
        match self.silence(Some(&name)).await {
            Ok(silence) if silence.is_zero() => ApiError::InvalidKey("This is not the admin key.".into()),
            Ok(silence) => too_many(silence),
            Err(error) => error,
        }
    }
}

fn too_many(silence: Duration) -> ApiError {
    ApiError::TooManyAttempts { retry_ms: i64::try_from(silence.as_millis()).unwrap_or(i64::MAX) }
}

/// Whoever has one address of IPv6 has all of its /64.
fn neighbourhood(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => format!("{}/64", std::net::Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// Who asks. `within`: how old a member's record may be.
pub(crate) async fn client(request: HttpRequest, within: Duration) -> Result<Client, ApiError> {
    let look = Look::at(&request)?;
    let admin = || Client::new(ADMIN, ClientKind::Admin, []);
    let Some(token) = bearer(request.headers()) else {
        if session::of(&look, &request).await?.is_some() {
            return Ok(admin());
        }
        if look.door.open {
            return Ok(look.door.stranger(look.address));
        }
        return Err(ApiError::InvalidKey("An API key is required: `Authorization: Bearer <key>`.".into()));
    };
    match look.door.shown(token) {
        Shown::Admin(_) => match look.silence(None).await? {
            Duration::ZERO => Ok(admin()),
            // Where any key is taken, one of a guessing address is like any other; the answer must not tell which it is.
            _ if look.door.open => Ok(look.door.stranger(look.address)),
            silence => Err(too_many(silence)),
        },
        Shown::Shared(client) => Ok(client),
        Shown::Member => look.edge.flow.ledger.authenticate(token, within).await.map_err(|e| refused(&e)),
        Shown::Unknown if look.door.open => {
            if look.door.admin.is_some() {
                let name = KeyDigest::of(token).short();
                look.edge.flow.ledger.report_failed_login(neighbourhood(look.address), name);
            }
            Ok(look.door.stranger(look.address))
        }
        // It may have been a guess. The same wrong key again is a caller with a wrong setting.
        Shown::Unknown => match look.silence(Some(&KeyDigest::of(token).short())).await? {
            Duration::ZERO => Err(ApiError::InvalidKey("This API key is not known here.".into())),
            silence => Err(too_many(silence)),
        },
    }
}

fn refused(error: &AuthenticationError) -> ApiError {
    match error {
        AuthenticationError::Refused(why) => ApiError::InvalidKey(why.to_string().into()),
        AuthenticationError::Ledger(error) => flow_error::ledger(error),
    }
}

impl FromRequest for Client {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        client(request.clone(), AFRESH).boxed_local()
    }
}

/// Proof that the admin key was shown, or the cookie of a session that it opened.
pub struct Admin {
    /// For the audit.
    pub by: ChangedBy,
}

async fn admin(request: HttpRequest) -> Result<Admin, ApiError> {
    let look = Look::at(&request)?;
    if look.door.admin.is_none() {
        return Err(ApiError::AdminKeyNotSet);
    }
    let Some(token) = bearer(request.headers()) else {
        if session::of(&look, &request).await?.is_some() {
            return Ok(Admin { by: look.by() });
        }
        let words = "The admin key is required: `Authorization: Bearer <admin key>`, or a session.";
        return Err(ApiError::InvalidKey(words.into()));
    };
    match look.door.shown(token) {
        Shown::Admin(_) => look.right_key().await.map(|()| Admin { by: look.by() }),
        Shown::Shared(_) => Err(ApiError::AdminRequired),
        Shown::Member => match look.edge.flow.ledger.authenticate(token, AFRESH).await {
            Ok(_) => Err(ApiError::AdminRequired),
            Err(error) => Err(refused(&error)),
        },
        Shown::Unknown => Err(look.wrong_key().await),
    }
}

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        admin(request.clone()).boxed_local()
    }
}

/// What an admin wants, as JSON. Read only once it is known to be one: nobody else hears what is wrong with it.
pub struct Order<T> {
    pub by: ChangedBy,
    pub said: T,
}

impl<T: DeserializeOwned + 'static> FromRequest for Order<T> {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        async move {
            let Admin { by } = admin(request.clone()).await?;
            if says_nothing(&request) {
                let nothing = serde_json::from_str("{}");
                let nothing = nothing.map_err(|error| bad_body(&JsonPayloadError::Deserialize(error)))?;
                return Ok(Self { by, said: nothing });
            }
            let Json(said) = Json::<T>::from_request(&request, &mut payload).await?;
            Ok(Self { by, said })
        }
        .boxed_local()
    }
}

/// There is no body at all: as good as an empty object.
fn says_nothing(request: &HttpRequest) -> bool {
    let headers = request.headers();
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length == "0",
        // Without a length there is a body only where it comes in chunks, or in frames.
        None => !headers.contains_key(TRANSFER_ENCODING) && request.version() < Version::HTTP_2,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, AuthSettings, Settings},
    };

    fn settings(mode: AuthMode) -> Settings {
        Settings {
            auth: AuthSettings { mode: Some(mode) },
            admin_key: Some("boss".into()),
            api_key: Some("team".into()),
            ..Settings::default()
        }
    }

    fn with(path: &str, key: Option<&str>) -> TestRequest {
        let request = TestRequest::get().uri(path).peer_addr("203.0.113.7:4711".parse().unwrap());
        match key {
            Some(key) => request.insert_header(("authorization", format!("Bearer {key}"))),
            None => request,
        }
    }

    #[actix_web::test]
    async fn an_open_door_lets_strangers_in_but_no_invalid_member_key() {
        let app = app(settings(AuthMode::Open)).await;
        for (key, status) in [(None, 200), (Some("whatever"), 200), (Some("sk-tf-x-y"), 401), (Some("team"), 200)] {
            assert_eq!(call(&app, with("/v1/models", key)).await.0, status, "{key:?}");
        }
    }

    #[actix_web::test]
    async fn a_closed_door_takes_the_shared_key_and_the_admins() {
        let app = app(settings(AuthMode::Required)).await;
        for (key, status) in [(None, 401), (Some("Team"), 401), (Some("team"), 200), (Some("boss"), 200)] {
            assert_eq!(call(&app, with("/v1/models", key)).await.0, status, "{key:?}");
        }
    }

    #[actix_web::test]
    async fn only_the_admin_key_opens_the_admins_endpoints() {
        for mode in [AuthMode::Open, AuthMode::Required] {
            let app = app(settings(mode)).await;
            for (key, status, code) in [
                (Some("boss"), 200, None),
                (Some("team"), 403, Some("admin_required")),
                (Some("guess"), 401, Some("invalid_api_key")),
                (None, 401, Some("invalid_api_key")),
            ] {
                let (told, _, body) = call(&app, with("/admin/v1/audit", key)).await;
                assert_eq!((told, body["error"]["code"].as_str()), (status, code), "{key:?}");
            }
        }
        let unset = app(Settings::default()).await;
        let (status, _, body) = call(&unset, with("/admin/v1/audit", Some("boss"))).await;
        assert_eq!((status, &body["error"]["code"]), (503, &"admin_key_not_set".into()));
    }

    #[actix_web::test]
    async fn who_guesses_ten_times_in_a_minute_is_not_listened_to_and_others_are() {
        let app = app(settings(AuthMode::Required)).await;
        for _ in 0..10 {
            assert_eq!(call(&app, with("/admin/v1/audit", Some("guess"))).await.0, 401);
        }
        for (path, key) in [("/admin/v1/audit", "guess"), ("/admin/v1/audit", "boss"), ("/v1/models", "boss")] {
            let (status, headers, body) = call(&app, with(path, Some(key))).await;
            assert_eq!((status, &body["error"]["code"]), (429, &"too_many_attempts".into()), "{path} {key}");
            let wait: u64 = headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
            assert!((50..=60).contains(&wait), "{wait}");
        }
        assert_eq!(call(&app, with("/v1/models", Some("team"))).await.0, 200, "its other keys are as good as before");
        let elsewhere = with("/admin/v1/audit", Some("boss")).peer_addr("203.0.113.8:1".parse().unwrap());
        assert_eq!(call(&app, elsewhere).await.0, 200);
    }

    #[actix_web::test]
    async fn a_wrong_key_again_and_again_on_v1_is_one_guess() {
        let app = app(settings(AuthMode::Required)).await;
        for _ in 0..20 {
            assert_eq!(call(&app, with("/v1/models", Some("an-old-key"))).await.0, 401);
        }
        for n in 0..9 {
            assert_eq!(call(&app, with("/v1/models", Some(&format!("guess-{n}")))).await.0, 401);
        }
        for key in ["guess-x", "an-old-key", "boss"] {
            assert_eq!(call(&app, with("/v1/models", Some(key))).await.0, 429, "{key}");
        }
    }

    #[test]
    fn all_of_an_ipv6_network_is_one_neighbour() {
        let of = |ip: &str| neighbourhood(Some(ip.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
    }
}
