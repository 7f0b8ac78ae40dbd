//! The session of an admin in the browser: its cookie, its CSRF token and the check that a request comes from our own
//! pages. The cookie is `HttpOnly` and `SameSite=Strict`. State-changing requests also need the CSRF token, which only our
//! own origin can read.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{COOKIE, HOST, HeaderMap, ORIGIN},
    },
};

use crate::{
    api::edge::{auth_context::AuthContext, error::ApiError, flow_error},
    domain::KeyDigest,
    ledger::SessionKey,
};

const COOKIE_NAME: &str = "tf_session";
const CSRF_HEADER: &str = "x-csrf-token";

/// Remaining lifetime of the request's session, or `None` without a valid cookie. A request with a valid cookie that none
/// of our pages can have sent is an error.
pub(crate) async fn remaining_lifetime(
    context: &AuthContext,
    request: &HttpRequest,
) -> Result<Option<Duration>, ApiError> {
    let (Some(token), Some(admin)) = (token_of_request(request), context.policy.admin_key) else { return Ok(None) };
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    let left = context.state.flow.ledger.find_session(session).await.map_err(|e| flow_error::from_ledger(&e))?;
    if left.is_none() {
        return Ok(None);
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let presented = header_text(request.headers(), CSRF_HEADER);
    let has_csrf = presented.is_some_and(|presented| KeyDigest::of(presented).is(&KeyDigest::of(&csrf_token(&token))));
    match RequestOrigin::new(request.headers()) {
        RequestOrigin::Same if is_read || has_csrf => Ok(left),
        RequestOrigin::Unstated if is_read => Ok(left),
        _ => Err(ApiError::CrossSite),
    }
}

/// Derived from the cookie, which no script can read, and does not reveal it.
pub(crate) fn csrf_token(token: &str) -> String {
    let mut hex = KeyDigest::of(&format!("csrf {token}")).hex();
    hex.truncate(32);
    hex
}

pub(crate) fn token_of_request(request: &HttpRequest) -> Option<String> {
    let lines = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, token)| *name == COOKIE_NAME && !token.is_empty()).map(|(_, token)| token.to_owned())
}

/// The value of `set-cookie` after a login. With a zero lifetime it removes the cookie. `Secure` is set where the browser
/// reached us by HTTPS.
pub(crate) fn cookie(context: &AuthContext, request: &HttpRequest, token: &str, lifetime: Duration) -> String {
    let secure = if is_https(context, request) { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lifetime.as_secs())
}

/// The origin of the page that sent a request, as far as the browser states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestOrigin {
    Same,
    Other,
    Unstated,
}

impl RequestOrigin {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        match header_text(headers, "sec-fetch-site") {
            // `none`: the user typed the address.
            Some("same-origin" | "none") => return Self::Same,
            Some(_) => return Self::Other,
            None => {}
        }
        let Some(origin) = headers.get(ORIGIN) else { return Self::Unstated };
        // Only hosts are compared: an ingress may terminate TLS, so that our scheme differs from the page's.
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        match (origin, header_text(headers, HOST.as_str())) {
            (Some((_, origin_host)), Some(host)) if origin_host.eq_ignore_ascii_case(host) => Self::Same,
            _ => Self::Other,
        }
    }
}

fn is_https(context: &AuthContext, request: &HttpRequest) -> bool {
    let proxied = request.peer_addr().is_some_and(|peer| context.policy.trusts_proxy(peer.ip().to_canonical()))
        && header_text(request.headers(), "x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    proxied || header_text(request.headers(), ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("https://"))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn origin(headers: &[(&'static str, &'static str)]) -> RequestOrigin {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        RequestOrigin::new(&headers.iter().map(header).collect())
    }

    #[test]
    fn only_a_page_of_our_own_origin_counts_as_same() {
        let host = ("host", "gate.example:8443");
        assert_eq!(origin(&[host]), RequestOrigin::Unstated);
        for same in ["https://gate.example:8443", "http://GATE.example:8443"] {
            assert_eq!(origin(&[host, ("origin", same)]), RequestOrigin::Same, "{same}");
        }
        for other in ["https://gate.example", "https://evil.example", "null", "https://gate.example:8443.evil.example"]
        {
            assert_eq!(origin(&[host, ("origin", other)]), RequestOrigin::Other, "{other}");
        }
        assert_eq!(origin(&[host, ("sec-fetch-site", "same-origin")]), RequestOrigin::Same);
        for site in ["cross-site", "same-site"] {
            let headers = [host, ("origin", "https://gate.example:8443"), ("sec-fetch-site", site)];
            assert_eq!(origin(&headers), RequestOrigin::Other, "{site}");
        }
    }

    #[test]
    fn each_session_has_its_own_csrf_token() {
        assert_eq!(csrf_token("a").len(), 32);
        assert_ne!(csrf_token("a"), csrf_token("b"));
    }
}
