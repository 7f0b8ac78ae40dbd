//! Authentication as extractors: [`Client`] for endpoints of clients, [`Admin`] and [`AdminJson`] for those of admins. Both
//! accept a key (see [`presented_key`]) or a session cookie.

use std::{sync::Arc, time::Duration};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    error::{JsonPayloadError, PayloadError},
    http::{
        Version,
        header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
    },
    web::{Bytes, Json},
};
use futures_util::{
    StreamExt,
    future::{FutureExt, LocalBoxFuture},
};
use serde::de::DeserializeOwned;

use crate::{
    api::edge::{
        access_policy::{PresentedKey, presented_key, presented_keys},
        auth_context::{ADMIN, AuthContext, too_many_attempts},
        body,
        error::ApiError,
        flow_error,
        open_requests::OpenRequest,
        session,
    },
    domain::{Client, KeyDigest, client::ClientKind},
    ledger::{AuthenticationError, ChangedBy},
    protocol::skip_byte_order_mark,
};

/// Requests of admins are small.
pub(crate) const MAX_ADMIN_BODY: usize = 65_536;

/// Client records are read afresh on endpoints that spend no budget. Admission compares record versions itself, so
/// endpoints that do may use a cached record.
const NO_CACHE: Duration = Duration::ZERO;

/// Authenticates the caller of a client endpoint, and counts the request as its own. `max_age`: how old a cached client record
/// may be. `wait`: how long the caller waits for an unreachable ledger, which has the record.
pub(crate) async fn client(request: HttpRequest, max_age: Duration, wait: Duration) -> Result<Client, ApiError> {
    let client = identified(&request, max_age, wait).await?;
    count_for(&request, &client.id)?;
    Ok(client)
}

/// Refuses the request of a client that has its share of the replica's requests.
fn count_for(request: &HttpRequest, client: &Arc<str>) -> Result<(), ApiError> {
    let open = request.extensions().get::<Arc<OpenRequest>>().cloned();
    if open.is_none_or(|open| open.belongs_to(client)) {
        return Ok(());
    }
    let message = "You have half of the requests that this replica takes at a time. Try again.".to_owned();
    Err(ApiError::Overloaded { message })
}

async fn identified(request: &HttpRequest, max_age: Duration, wait: Duration) -> Result<Client, ApiError> {
    let context = AuthContext::new(request)?;
    let admin = || Client::new(ADMIN, ClientKind::Admin, []);
    let anonymous = || context.policy.anonymous_client(context.address);
    let Some(token) = valid_key(&context, request.headers(), max_age).await else {
        if session::remaining_lifetime(&context, request).await?.is_some() {
            return Ok(admin());
        }
        if context.policy.open {
            return Ok(anonymous());
        }
        return Err(ApiError::InvalidKey("An API key is required: `Authorization: Bearer <key>`.".into()));
    };
    match context.policy.identify(token) {
        PresentedKey::Admin(_) => Ok(admin()),
        PresentedKey::Shared(client) => Ok(client),
        PresentedKey::Client => {
            let ledger = &context.state.flow.ledger;
            ledger.authenticate_within(token, max_age, wait).await.map_err(|error| rejected(&error))
        }
        PresentedKey::Unknown if context.policy.open => {
            for guess in presented_keys(request.headers()) {
                context.count_failed_login(KeyDigest::of(guess).short());
            }
            Ok(anonymous())
        }
        // May be a guess of the admin key. The same wrong key again is more likely a wrong setting and counts once.
        PresentedKey::Unknown => {
            let mut block = Duration::ZERO;
            for guess in presented_keys(request.headers()) {
                block = block.max(context.count_wrong_key(&KeyDigest::of(guess).short()).await?);
            }
            if block.is_zero() {
                return Err(ApiError::InvalidKey("This API key is unknown.".into()));
            }
            Err(too_many_attempts(block))
        }
    }
}

/// The key by which the caller is judged: the first, unless it is not valid and a later one may be.
async fn valid_key<'h>(context: &AuthContext, headers: &'h HeaderMap, max_age: Duration) -> Option<&'h str> {
    let mut keys = presented_keys(headers);
    let first = keys.next()?;
    let is_known = |key: &str| !matches!(context.policy.identify(key), PresentedKey::Unknown);
    let Some(other) = keys.find(|key| *key != first && is_known(key)) else { return Some(first) };
    let is_refused = match context.policy.identify(first) {
        PresentedKey::Unknown => true,
        PresentedKey::Client => {
            let found = context.state.flow.ledger.authenticate(first, max_age).await;
            matches!(found, Err(AuthenticationError::Refused(_)))
        }
        _ => false,
    };
    Some(if is_refused { other } else { first })
}

fn rejected(error: &AuthenticationError) -> ApiError {
    match error {
        AuthenticationError::Refused(why) => ApiError::InvalidKey(why.to_string().into()),
        AuthenticationError::Ledger(error) => flow_error::from_ledger(error),
    }
}

impl FromRequest for Client {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        client(request.clone(), NO_CACHE, Duration::ZERO).boxed_local()
    }
}

/// Proof that the request carries the admin key or the cookie of a session opened with it.
pub(crate) struct Admin {
    /// The actor in the audit log.
    pub by: ChangedBy,
}

async fn admin(request: HttpRequest) -> Result<Admin, ApiError> {
    let admin = identified_admin(&request).await?;
    count_for(&request, &ADMIN.into())?;
    Ok(admin)
}

async fn identified_admin(request: &HttpRequest) -> Result<Admin, ApiError> {
    let context = AuthContext::new(request)?;
    if context.policy.admin_key.is_none() {
        return Err(ApiError::AdminKeyNotSet);
    }
    let Some(token) = presented_key(request.headers()) else {
        if session::remaining_lifetime(&context, request).await?.is_some() {
            return Ok(Admin { by: context.by() });
        }
        let message = "The admin key is required: `Authorization: Bearer <admin key>`, or a session.";
        return Err(ApiError::InvalidKey(message.into()));
    };
    match context.policy.identify(token) {
        PresentedKey::Admin(_) => Ok(Admin { by: context.by() }),
        PresentedKey::Shared(_) => Err(ApiError::AdminRequired),
        PresentedKey::Client => match context.state.flow.ledger.authenticate(token, NO_CACHE).await {
            Ok(_) => Err(ApiError::AdminRequired),
            Err(error) => Err(rejected(&error)),
        },
        PresentedKey::Unknown => Err(context.failed_login().await),
    }
}

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        admin(request.clone()).boxed_local()
    }
}

/// The JSON body of an admin request. It is read only after authentication, so that errors in it are reported to admins
/// only. A missing body counts as `{}`.
pub(crate) struct AdminJson<T> {
    pub by: ChangedBy,
    pub body: T,
}

impl<T: DeserializeOwned + 'static> FromRequest for AdminJson<T> {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        async move {
            let Admin { by } = admin(request.clone()).await?;
            let body = if has_no_body(&request) {
                let empty = serde_json::from_str("{}");
                empty.map_err(|error| ApiError::from(&JsonPayloadError::Deserialize(error)))?
            } else if body::is_compressed(&request)? {
                let body = body::read(&request, payload, MAX_ADMIN_BODY, &mut None).await?;
                Json::<T>::from_request(&request, &mut without_byte_order_mark(Payload::from(body))).await?.0
            } else {
                Json::<T>::from_request(&request, &mut without_byte_order_mark(payload)).await?.0
            };
            Ok(Self { by, body })
        }
        .boxed_local()
    }
}

fn without_byte_order_mark(payload: Payload) -> Payload {
    let mut is_first = true;
    let chunks = payload.map(
        move |chunk: Result<Bytes, PayloadError>| {
            if std::mem::take(&mut is_first) { chunk.map(skip_byte_order_mark) } else { chunk }
        },
    );
    Payload::Stream { payload: chunks.boxed_local() }
}

fn has_no_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length == "0",
        // Without a length, HTTP/1 announces a body by its transfer encoding; HTTP/2 does not announce it.
        None => !headers.contains_key(TRANSFER_ENCODING) && request.version() < Version::HTTP_2,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, AuthSettings, Settings},
    };

    fn settings(mode: AuthMode) -> Settings {
        Settings {
            auth: AuthSettings { mode: Some(mode) },
            admin_key: Some("admin-key".into()),
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
    async fn an_open_gateway_accepts_unknown_keys_but_no_invalid_client_key() {
        let app = app(settings(AuthMode::Open)).await;
        for (key, status) in [(None, 200), (Some("whatever"), 200), (Some("sk-tf-x-y"), 401), (Some("team"), 200)] {
            assert_eq!(call(&app, with("/v1/models", key)).await.0, status, "{key:?}");
        }
    }

    #[actix_web::test]
    async fn a_closed_gateway_accepts_the_shared_key_and_the_admin_key() {
        let app = app(settings(AuthMode::Required)).await;
        for (key, status) in [(None, 401), (Some("Team"), 401), (Some("team"), 200), (Some("admin-key"), 200)] {
            assert_eq!(call(&app, with("/v1/models", key)).await.0, status, "{key:?}");
        }
    }

    #[actix_web::test]
    async fn every_header_for_keys_is_accepted_at_client_and_admin_endpoints() {
        let app = app(settings(AuthMode::Required)).await;
        for (path, key) in [("/v1/models", "team"), ("/v1/models", "admin-key"), ("/admin/v1/audit", "admin-key")] {
            for header in ["x-api-key", "api-key"] {
                assert_eq!(call(&app, with(path, None).insert_header((header, key))).await.0, 200, "{path} {header}");
                assert_eq!(call(&app, with(path, None).insert_header((header, "x"))).await.0, 401, "{path} {header}");
            }
        }
    }

    #[actix_web::test]
    async fn of_two_keys_one_valid_one_is_enough_and_every_guess_counts() {
        let app = app(settings(AuthMode::Required)).await;
        let both =
            |bearer: &str, bare: &str| with("/v1/models", Some(bearer)).insert_header(("x-api-key", bare.to_owned()));
        for (bearer, bare, status) in [
            ("team", "x", 200),
            ("x", "team", 200),
            ("sk-tf-x-y", "team", 200),
            ("team", "sk-tf-x-y", 200),
            ("x", "y", 401),
        ] {
            assert_eq!(call(&app, both(bearer, bare)).await.0, status, "{bearer} {bare}");
        }
        for n in 0..8 {
            assert_eq!(call(&app, both("x", &format!("guess-{n}"))).await.0, 401);
        }
        assert_eq!(call(&app, both("x", "guess-9")).await.0, 429);
        assert_eq!(call(&app, both("x", "admin-key")).await.0, 200, "the right key is never refused");
    }

    #[actix_web::test]
    async fn a_401_names_the_scheme_to_authenticate_with() {
        let app = app(settings(AuthMode::Required)).await;
        for (path, key) in [("/v1/models", None), ("/v1/models", Some("x")), ("/admin/v1/audit", None)] {
            let (status, headers, _) = call(&app, with(path, key)).await;
            let challenge = headers.get("www-authenticate").map(|value| value.to_str().unwrap());
            assert_eq!((status, challenge), (401, Some("Bearer realm=\"tollfree\"")), "{path} {key:?}");
        }
        assert!(!call(&app, with("/v1/models", Some("team"))).await.1.contains_key("www-authenticate"));
    }

    #[actix_web::test]
    async fn only_the_admin_key_grants_access_to_admin_endpoints() {
        for mode in [AuthMode::Open, AuthMode::Required] {
            let app = app(settings(mode)).await;
            for (key, status, code) in [
                (Some("admin-key"), 200, None),
                (Some("team"), 403, Some("admin_required")),
                (Some("guess"), 401, Some("invalid_api_key")),
                (None, 401, Some("invalid_api_key")),
            ] {
                let (actual, _, body) = call(&app, with("/admin/v1/audit", key)).await;
                assert_eq!((actual, body["error"]["code"].as_str()), (status, code), "{key:?}");
            }
        }
        let unset = app(Settings::default()).await;
        let (status, _, body) = call(&unset, with("/admin/v1/audit", Some("admin-key"))).await;
        assert_eq!((status, &body["error"]["code"]), (503, &"admin_key_not_set".into()));
    }

    #[actix_web::test]
    async fn after_ten_failed_logins_in_a_minute_wrong_keys_of_the_address_are_refused_and_no_right_one() {
        let app = app(settings(AuthMode::Required)).await;
        for _ in 0..10 {
            assert_eq!(call(&app, with("/admin/v1/audit", Some("guess"))).await.0, 401);
        }
        for (path, key) in [("/admin/v1/audit", "guess"), ("/v1/models", "guess")] {
            let (status, headers, body) = call(&app, with(path, Some(key))).await;
            assert_eq!((status, &body["error"]["code"]), (429, &"too_many_attempts".into()), "{path} {key}");
            let wait: u64 = headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
            assert!((50..=60).contains(&wait), "{wait}");
        }
        for (path, key) in [("/admin/v1/audit", "admin-key"), ("/v1/models", "admin-key"), ("/v1/models", "team")] {
            assert_eq!(call(&app, with(path, Some(key))).await.0, 200, "the right key is not refused: {path} {key}");
        }
        let elsewhere = with("/admin/v1/audit", Some("admin-key")).peer_addr("203.0.113.8:1".parse().unwrap());
        assert_eq!(call(&app, elsewhere).await.0, 200);
    }

    #[actix_web::test]
    async fn the_same_wrong_key_on_v1_counts_as_one_failed_login() {
        let app = app(settings(AuthMode::Required)).await;
        for _ in 0..8 {
            assert_eq!(call(&app, with("/v1/models", Some("an-old-key"))).await.0, 401);
        }
        for n in 0..9 {
            assert_eq!(call(&app, with("/v1/models", Some(&format!("guess-{n}")))).await.0, 401);
        }
        for key in ["guess-x", "an-old-key"] {
            assert_eq!(call(&app, with("/v1/models", Some(key))).await.0, 429, "{key}");
        }
        assert_eq!(call(&app, with("/v1/models", Some("admin-key"))).await.0, 200);
    }
}
