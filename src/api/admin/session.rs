//! `/admin/v1/session`: logging in from the web page. The cookie is `HttpOnly` and `SameSite=Strict`, and by it nothing is
//! changed without the token that only a page of our own origin can read.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{COOKIE, HOST, HeaderMap, ORIGIN, SET_COOKIE},
    },
    web::Json,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::edge::{access_policy::Shown, auth::Look, error::ApiError, flow_error},
    domain::{KeyDigest, key},
    ledger::{SESSION, SessionKey},
};

const NAME: &str = "tf_session";
/// Carries [`csrf`] on everything that changes something.
const CSRF: &str = "x-csrf-token";

/// What opens a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    key: String,
}

/// A session, as its page needs to know it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// To be sent as `x-csrf-token` with every request that is no GET.
    csrf: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Signs an admin in, for a page
///
/// The cookie `tf_session` then stands for the admin key, and everything but a GET needs `csrf` as `x-csrf-token`.
#[utoipa::path(
    post, path = "/admin/v1/session", tag = "admin", operation_id = "open_session",
    request_body(content = LogIn, example = json!({ "key": "my-admin-key" })),
    responses(
        (
            status = 200, description = "A session, in the cookie", body = Session,
            headers(("set-cookie" = String, description = "`tf_session`")),
            example = json!({ "csrf": "0f3c5b1a9d7e48620f3c5b1a9d7e4862", "expires_at": "2026-11-23T02:03:05Z" }),
        ),
        (status = 401, description = "invalid_api_key"),
        (status = 403, description = "admin_required, cross_site_request"),
        (status = 429, description = "too_many_attempts"),
        (status = 503, description = "ledger_unavailable, admin_key_not_set"),
    ),
)]
pub async fn open(request: HttpRequest, asked: Json<LogIn>) -> Result<HttpResponse, ApiError> {
    let look = Look::at(&request)?;
    if look.door.admin.is_none() {
        return Err(ApiError::AdminKeyNotSet);
    }
    if site(request.headers()) == Site::Other {
        return Err(ApiError::CrossSite);
    }
    let admin = match look.door.shown(&asked.key) {
        Shown::Admin(admin) => admin,
        Shown::Shared(_) => return Err(ApiError::AdminRequired),
        Shown::Member | Shown::Unknown => return Err(look.wrong_key().await),
    };
    look.right_key().await?;
    let token = key::fresh_secret().map_err(|error| {
        tracing::error!(%error, "No session can be opened: {error}");
        ApiError::Internal
    })?;
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    let left = look.edge.flow.ledger.open_session(session, &look.by()).await.map_err(|e| flow_error::ledger(&e))?;
    tracing::info!("An admin logged in");
    let cookie = cookie(&token, SESSION, is_https(&look, &request));
    Ok(HttpResponse::Ok().insert_header((SET_COOKIE, cookie)).json(shown(&token, left)))
}

/// Is the page still signed in?
#[utoipa::path(
    get, path = "/admin/v1/session", tag = "admin", operation_id = "show_session",
    security(("session" = [])),
    responses((
        status = 200, description = "It is", body = Session,
        example = json!({ "csrf": "0f3c5b1a9d7e48620f3c5b1a9d7e4862", "expires_at": "2026-11-23T02:03:05Z" }),
    )),
)]
pub async fn show(request: HttpRequest) -> Result<Json<Session>, ApiError> {
    let look = Look::at(&request)?;
    match (token_of(&request), of(&look, &request).await?) {
        (Some(token), Some(left)) => Ok(Json(shown(&token, left))),
        _ => Err(ApiError::InvalidKey("There is no session: log in.".into())),
    }
}

/// Signs out, at all replicas
#[utoipa::path(
    delete, path = "/admin/v1/session", tag = "admin", operation_id = "end_session",
    security(("session" = [])),
    responses((
        status = 204, description = "The session is over",
        headers(("set-cookie" = String, description = "Takes the cookie away")),
    )),
)]
pub async fn end(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let look = Look::at(&request)?;
    let (Some(token), Some(_), Some(admin)) = (token_of(&request), of(&look, &request).await?, look.door.admin) else {
        return Err(ApiError::InvalidKey("There is no session to end.".into()));
    };
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    look.edge.flow.ledger.end_session(session, &look.by()).await.map_err(|e| flow_error::ledger(&e))?;
    tracing::info!("An admin logged out");
    let gone = cookie("", Duration::ZERO, is_https(&look, &request));
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, gone)).finish())
}

/// What is left of the session by whose cookie a request comes; `None`: it has none that is good. A request that no page
/// of ours can have sent is refused.
pub(crate) async fn of(look: &Look, request: &HttpRequest) -> Result<Option<Duration>, ApiError> {
    let (Some(token), Some(admin)) = (token_of(request), look.door.admin) else { return Ok(None) };
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    let left = look.edge.flow.ledger.find_session(session).await.map_err(|e| flow_error::ledger(&e))?;
    if left.is_none() {
        return Ok(None);
    }
    let from = site(request.headers());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let csrf_shown = request.headers().get(CSRF).and_then(|value| value.to_str().ok());
    let proven = csrf_shown.is_some_and(|shown| KeyDigest::of(shown).is(&KeyDigest::of(&csrf(&token))));
    match from {
        Site::Ours if reads || proven => Ok(left),
        Site::Unsaid if reads => Ok(left),
        _ => Err(ApiError::CrossSite),
    }
}

fn shown(token: &str, left: Duration) -> Session {
    let left = SignedDuration::try_from(left).unwrap_or_default();
    let at = Timestamp::now().saturating_add(left).unwrap_or(Timestamp::MAX);
    Session { csrf: csrf(token), expires_at: Timestamp::from_second(at.as_second()).unwrap_or(at) }
}

/// Follows from the cookie, which no script can read, and does not give it away.
fn csrf(token: &str) -> String {
    let mut hex = KeyDigest::of(&format!("csrf {token}")).hex();
    hex.truncate(32);
    hex
}

fn token_of(request: &HttpRequest) -> Option<String> {
    let lines = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, token)| *name == NAME && !token.is_empty()).map(|(_, token)| token.to_owned())
}

/// A log-in's `set-cookie`; one that lasts no time takes it away.
fn cookie(token: &str, lasts: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lasts.as_secs())
}

/// Where the page comes from that sends a request, as far as the browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Ours,
    Other,
    Unsaid,
}

fn site(headers: &HeaderMap) -> Site {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        // `none`: typed into the browser by the person itself.
        Some("same-origin" | "none") => return Site::Ours,
        Some(_) => return Site::Other,
        None => {}
    }
    let Some(origin) = headers.get(ORIGIN) else { return Site::Unsaid };
    // An ingress ends TLS: the scheme we were called by need not be the page's.
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (origin, host) {
        (Some((_, ours)), Some(host)) if ours.eq_ignore_ascii_case(host) => Site::Ours,
        _ => Site::Other,
    }
}

/// Whether the browser reached us by HTTPS: then its cookie shall go nowhere else.
fn is_https(look: &Look, request: &HttpRequest) -> bool {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let by_proxy = request.peer_addr().is_some_and(|peer| look.door.trusts(peer.ip().to_canonical()))
        && text("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    by_proxy || text(ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn from(headers: &[(&'static str, &'static str)]) -> Site {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        site(&headers.iter().map(header).collect())
    }

    #[test]
    fn only_a_page_of_our_own_origin_is_ours() {
        let host = ("host", "gate.example:8443");
        assert_eq!(from(&[host]), Site::Unsaid);
        for ours in ["https://gate.example:8443", "http://GATE.example:8443"] {
            assert_eq!(from(&[host, ("origin", ours)]), Site::Ours, "{ours}");
        }
        for other in ["https://gate.example", "https://evil.example", "null", "https://gate.example:8443.evil.example"]
        {
            assert_eq!(from(&[host, ("origin", other)]), Site::Other, "{other}");
        }
        assert_eq!(from(&[host, ("sec-fetch-site", "same-origin")]), Site::Ours);
        for other in ["cross-site", "same-site"] {
            assert_eq!(from(&[host, ("origin", "https://gate.example:8443"), ("sec-fetch-site", other)]), Site::Other);
        }
    }

    #[test]
    fn the_csrf_token_is_the_sessions_own() {
        assert_eq!(csrf("a").len(), 32);
        assert_ne!(csrf("a"), csrf("b"));
    }
}
