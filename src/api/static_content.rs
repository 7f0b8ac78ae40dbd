//! Content that does not change while the process runs: entity tags, and the security headers of pages.

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, ETag, EntityTag, HeaderValue, IfNoneMatch,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    web::Bytes,
};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Browsers revalidate with the entity tag on each use, so that a new version shows at once.
pub(crate) const REVALIDATE: &str = "no-cache";

/// A text with its entity tag.
pub(crate) struct CachedDocument {
    text: Bytes,
    tag: EntityTag,
    content_type: &'static str,
}

impl CachedDocument {
    pub(super) fn new(text: String, content_type: &'static str) -> Self {
        let tag = entity_tag(&Sha256::digest(&text).into());
        Self { text: text.into(), tag, content_type }
    }

    pub(super) fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let unchanged = is_unchanged(request, &self.tag);
        let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header(ETag(self.tag.clone())).insert_header((CACHE_CONTROL, REVALIDATE));
        if unchanged { response.finish() } else { response.content_type(self.content_type).body(self.text.clone()) }
    }
}

pub(crate) fn entity_tag(hash: &[u8; 32]) -> EntityTag {
    EntityTag::new_strong(HEXLOWER.encode(&hash[..8]))
}

/// Whether the browser already has this version (`If-None-Match`).
pub(crate) fn is_unchanged(request: &HttpRequest, tag: &EntityTag) -> bool {
    match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(known)) => known.iter().any(|other| other.weak_eq(tag)),
        None => false,
    }
}

/// Restricts what a page may load and who may embed it. `policy`: its content security policy.
pub(crate) fn restrict(mut page: HttpResponse, policy: HeaderValue) -> HttpResponse {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    page
}
