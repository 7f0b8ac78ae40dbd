//! `/docs`: `/openapi.json` for people. One page of our own inside the binary: nothing is fetched from anywhere else, and
//! the policy it is sent with allows its own script, its own style and calls to its own origin.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
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
        let (style, script) = (base64(&Sha256::digest(STYLE)), base64(&Sha256::digest(SCRIPT)));
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

/// As a policy names a hash.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0_usize, |bits, (i, byte)| bits | usize::from(*byte) << (16 - 8 * i));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            text.push(if place > three.len() { '=' } else { digit.into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_what_does_not_fill_four_digits() {
        for (plain, coded) in [("", ""), ("M", "TQ=="), ("Ma", "TWE="), ("Man", "TWFu"), ("\u{ff}\u{fe}", "w7/Dvg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&Sha256::digest("")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
