//! Which request this is: the caller's own id when it is harmless, else one of ours; and the trace it belongs to.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

use super::ApiError;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 128;

/// Ends up in headers, logs and the journal: at most 128 letters, digits and `-_.:`.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The caller's id, kept as it is when it is safe; else a new one, sortable by time.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|id| is_safe(id));
        match given {
            Some(id) => Self(id.into()),
            None => Self(uuid::Uuid::now_v7().as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).into()),
        }
    }

    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

fn is_safe(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Set on every request by [`super::around`].
impl FromRequest for RequestId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<RequestId>().cloned().ok_or(ApiError::Internal))
    }
}

/// The trace a request belongs to, for its record: the caller's.
pub struct TraceId(pub Option<String>);

impl FromRequest for TraceId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(trace_id(request.headers()).map(str::to_owned))))
    }
}

/// The trace id of a W3C `traceparent` (`00-<32 hex>-<16 hex>-<2 hex>`), when it is a valid one.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let line = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = line.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |s: &str| s.bytes().all(|b| b == b'0');
    let shaped = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && version != "ff";
    // Later versions may add fields; version 00 has exactly four.
    let ends = version != "00" || parts.next().is_none();
    (shaped && ends && !zero(trace) && !zero(parent)).then_some(trace)
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
    fn a_safe_id_is_kept_and_any_other_replaced_by_a_uuid_v7() {
        assert_eq!(&*RequestId::of(&with("x-request-id", "job-7:a.b_C")).0, "job-7:a.b_C");
        for bad in ["", "a b", "x\ty", "<script>", &"a".repeat(129)] {
            let id = RequestId::of(&with("x-request-id", bad)).0;
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7, "for {bad:?}");
        }
        let longest = "a".repeat(128);
        assert_eq!(*RequestId::of(&with("x-request-id", &longest)).0, longest);
    }

    #[test]
    fn only_a_valid_traceparent_gives_a_trace_id() {
        let of = |line: &str| trace_id(&with("traceparent", line)).map(str::to_owned);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        assert_eq!(of(&format!("01-{trace}-00f067aa0ba902b7-01-more")).as_deref(), Some(trace));
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01-more")), None);
        assert_eq!(of(&format!("ff-{trace}-00f067aa0ba902b7-01")), None);
        assert_eq!(of(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))), None);
        assert_eq!(of(&format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase())), None);
        assert_eq!(of("nonsense"), None);
    }
}
