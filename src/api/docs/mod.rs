//! `/docs`: `/openapi.json` for people. One page of our own inside the binary: nothing is fetched from anywhere else, and
//! the policy it is sent with allows its own script, its own style and calls to its own origin.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use crate::api::openapi::Kept;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

struct Page {
    kept: Kept,
    policy: HeaderValue,
}

/// This document as a page, with a button that sends each call
#[utoipa::path(
    get, path = "/docs", tag = "service", operation_id = "docs",
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html")),
)]
pub async fn page(request: HttpRequest) -> HttpResponse {
    static PAGE: LazyLock<Page> = LazyLock::new(|| {
        let text = include_str!("page.html").replace("{style}", STYLE).replace("{script}", SCRIPT);
        let (style, script) = (BASE64.encode(&Sha256::digest(STYLE)), BASE64.encode(&Sha256::digest(SCRIPT)));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::try_from(policy).expect("it is ASCII");
        Page { kept: Kept::new(text, "text/html; charset=utf-8"), policy }
    });
    let mut response = PAGE.kept.answer(&request);
    let mut set = |name: HeaderName, value| response.headers_mut().insert(name, value);
    set(CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
