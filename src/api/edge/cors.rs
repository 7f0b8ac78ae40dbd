//! Cross-origin requests: the origins of `ALLOWED_ORIGINS`, and the response headers their scripts may read.

use actix_web::http::{
    Method,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
    },
};

use crate::config::Origin;

/// The response headers of our own.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-tollfree-provider, x-tollfree-model, x-tollfree-attempts, x-tollfree-waited-ms, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
     retry-after, retry-after-ms, x-should-retry, preference-applied, x-tollfree-dropped, request-id",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS");
/// Allowed where a preflight names no request headers.
const DEFAULT_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-api-key, api-key");
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("86400");
const VARY_BY: HeaderValue = HeaderValue::from_static("Origin");
const NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins of `ALLOWED_ORIGINS`. While it is empty, only pages of our own origin may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    any: bool,
    listed: Vec<Origin>,
}

impl Origins {
    /// An origin is scheme, host and port without a path: `https://app.example`. `*` allows every origin.
    pub(crate) fn new(allowed: &[Origin]) -> Self {
        Self { any: allowed.iter().any(Origin::is_any), listed: allowed.to_vec() }
    }

    /// The value of `access-control-allow-origin`, or `None` if the request has no origin or one that is not allowed.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.any {
            // Cookies are not accepted across origins, so the wildcard exposes nothing.
            return Some(HeaderValue::from_static("*"));
        }
        let text = origin.to_str().ok()?;
        self.listed.iter().any(|allowed| allowed.matches(text)).then(|| origin.clone())
    }

    /// Whether responses differ by origin, so that caches must keep them apart.
    pub(crate) fn varies(&self) -> bool {
        !self.any && !self.listed.is_empty()
    }

    /// Adds the headers that let a page of the allowed origin read the response.
    pub(crate) fn insert_headers(&self, allowed_origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        if self.varies() {
            response.append(VARY, VARY_BY);
        }
        if let Some(origin) = allowed_origin {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Allows a preflight our methods and all headers it names: SDKs send headers of their own (`x-stainless-…`).
pub(crate) fn allow_preflight(request: &HeaderMap, response: &mut HeaderMap) {
    let headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(DEFAULT_HEADERS);
    response.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
    response.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    if request.contains_key(NETWORK) {
        response.insert(ALLOW_NETWORK, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(ORIGIN, HeaderValue::from_static(origin));
        map
    }

    #[test]
    fn only_a_listed_origin_is_allowed_and_named_in_the_response() {
        let origins = Origins::new(&["https://app.example".parse().unwrap(), "http://localhost:5173".parse().unwrap()]);
        assert_eq!(origins.allowed_origin(&from("https://app.example")).unwrap(), "https://app.example");
        assert_eq!(origins.allowed_origin(&from("https://app.example.evil")), None);
        assert_eq!(origins.allowed_origin(&HeaderMap::new()), None);
        assert!(origins.varies());
    }

    #[test]
    fn apps_extensions_and_subdomains_are_allowed_where_listed() {
        let listed = [
            "app://obsidian.md",
            "tauri://localhost",
            "capacitor://",
            "chrome-extension://abcdefgh",
            "https://*.team.example",
        ];
        let origins = Origins::new(&listed.map(|origin| origin.parse().unwrap()));
        for origin in [
            "app://obsidian.md",
            "tauri://localhost",
            "capacitor://localhost",
            "chrome-extension://abcdefgh",
            "https://a.b.team.example",
        ] {
            assert_eq!(origins.allowed_origin(&from(origin)).unwrap(), origin);
        }
        for origin in
            ["app://other.md", "https://team.example", "http://a.team.example", "https://evilteam.example", "null"]
        {
            assert_eq!(origins.allowed_origin(&from(origin)), None, "{origin}");
        }
    }

    #[test]
    fn an_empty_list_allows_no_origin_and_a_star_every_one() {
        assert_eq!(Origins::default().allowed_origin(&from("http://localhost:3000")), None);
        assert_eq!(Origins::new(&["*".parse().unwrap()]).allowed_origin(&from("null")).unwrap(), "*");
    }

    #[test]
    fn a_preflight_is_allowed_the_headers_it_names() {
        let mut request = from("https://app.example");
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-stainless-os"));
        let mut response = HeaderMap::new();
        allow_preflight(&request, &mut response);
        assert_eq!(response.get(ACCESS_CONTROL_ALLOW_HEADERS).unwrap(), "x-stainless-os");
    }
}
