//! Which web pages may call us (`ALLOWED_ORIGINS`), and what of our answers their scripts may read.

use actix_web::http::{
    Method,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
    },
};

use crate::config::Origin;

/// Every response header of ours.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-tollfree-provider, x-tollfree-model, x-tollfree-attempts, x-tollfree-waited-ms, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
     retry-after, retry-after-ms, x-should-retry, preference-applied",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS");
/// For a preflight that asks for none by name.
const USUAL_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
const A_DAY_S: HeaderValue = HeaderValue::from_static("86400");
const VARY_BY: HeaderValue = HeaderValue::from_static("Origin");
const NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins of `ALLOWED_ORIGINS`; none: only pages of our own origin.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    any: bool,
    listed: Vec<String>,
}

impl Origins {
    /// `*` allows any. An origin is scheme, host and port: `https://app.example`, without a path.
    pub fn new(allowed: &[Origin]) -> Self {
        let listed = allowed.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Self { any: allowed.iter().any(|origin| &**origin == "*"), listed }
    }

    /// What `access-control-allow-origin` says to this caller; `None`: no page, or one that may not.
    pub fn grant(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.any {
            // No cookie ever crosses origins, so the wildcard tells nobody's secrets.
            return Some(HeaderValue::from_static("*"));
        }
        let asked = origin.to_str().ok()?.to_ascii_lowercase();
        self.listed.contains(&asked).then(|| origin.clone())
    }

    /// Caches must not give one origin's answer to another.
    pub fn varies(&self) -> bool {
        !self.any && !self.listed.is_empty()
    }

    /// Marks an answer as readable by the page that was granted access.
    pub fn mark(&self, grant: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if self.varies() {
            answer.append(VARY, VARY_BY);
        }
        if let Some(origin) = grant {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// A browser asks what it may send, before it sends it.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a granted preflight: our methods, and whatever headers it asked for (SDKs send `x-stainless-…`).
pub fn answer_preflight(asked: &HeaderMap, answer: &mut HeaderMap) {
    let headers = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(USUAL_HEADERS);
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
    answer.insert(ACCESS_CONTROL_MAX_AGE, A_DAY_S);
    if asked.contains_key(NETWORK) {
        answer.insert(ALLOW_NETWORK, HeaderValue::from_static("true"));
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
    fn only_a_listed_origin_is_granted_access_and_it_is_named() {
        let origins = Origins::new(&["https://app.example".parse().unwrap(), "http://localhost:5173".parse().unwrap()]);
        assert_eq!(origins.grant(&from("https://app.example")).unwrap(), "https://app.example");
        assert_eq!(origins.grant(&from("https://app.example.evil")), None);
        assert_eq!(origins.grant(&HeaderMap::new()), None);
        assert!(origins.varies());
    }

    #[test]
    fn without_a_list_no_page_may_and_with_a_star_any() {
        assert_eq!(Origins::default().grant(&from("http://localhost:3000")), None);
        assert_eq!(Origins::new(&["*".parse().unwrap()]).grant(&from("null")).unwrap(), "*");
    }

    #[test]
    fn a_preflight_gets_back_the_headers_it_asked_for() {
        let mut asked = from("https://app.example");
        asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-stainless-os"));
        let mut answer = HeaderMap::new();
        answer_preflight(&asked, &mut answer);
        assert_eq!(answer.get(ACCESS_CONTROL_ALLOW_HEADERS).unwrap(), "x-stainless-os");
    }
}
