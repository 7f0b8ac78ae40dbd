//! The id of a request: the caller's `x-request-id` if it is safe, else a new one.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::{api::edge::error::ApiError, telemetry};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// At most 128 letters, digits and `-_.:`, because it appears in headers, logs and the journal.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub Arc<str>);

impl RequestId {
    /// The caller's id if it is safe, else a new one that sorts by time.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|id| is_safe(id));
        match given {
            Some(id) => Self(id.into()),
            None => Self(uuid::Uuid::now_v7().as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).into()),
        }
    }

    pub(crate) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

fn is_safe(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// [`super::middleware`] sets it on every request.
impl FromRequest for RequestId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<RequestId>().cloned().ok_or(ApiError::Internal))
    }
}

/// The trace id of a request for its journal record: ours, or the caller's if tracing is off.
pub(crate) struct TraceId(pub Option<String>);

impl FromRequest for TraceId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(telemetry::trace_id())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        map
    }

    #[test]
    fn a_safe_id_is_kept_and_any_other_is_replaced_by_a_uuid_v7() {
        assert_eq!(&*RequestId::from_headers(&with("x-request-id", "job-7:a.b_C")).0, "job-7:a.b_C");
        for bad in ["", "a b", "x\ty", "<script>", &"a".repeat(129)] {
            let id = RequestId::from_headers(&with("x-request-id", bad)).0;
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7, "for {bad:?}");
        }
        let longest = "a".repeat(128);
        assert_eq!(*RequestId::from_headers(&with("x-request-id", &longest)).0, longest);
    }
}
