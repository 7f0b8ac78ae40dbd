//! `Prefer: wait=10` (RFC 7240): the seconds a caller is willing to wait for a slot.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::HeaderMap};

use crate::api::edge::error::ApiError;

/// The requested wait, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefer(pub Option<Duration>);

impl Prefer {
    /// Ignores other preferences, as the RFC requires. An invalid wait is an error.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let lines = headers.get_all("prefer").filter_map(|line| line.to_str().ok());
        for preference in lines.flat_map(|line| line.split(',')) {
            let word = preference.split(';').next().unwrap_or_default();
            let Some((name, value)) = word.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let value = value.trim().trim_matches('"');
            return value.parse().map(|seconds| Self(Some(Duration::from_secs(seconds)))).map_err(|_| {
                let message = format!(
                    "`Prefer: wait={value}`: expected whole seconds such as `wait=10`; `wait=0` means no wait."
                );
                ApiError::InvalidValue { param: Some("prefer".to_owned()), message }
            });
        }
        Ok(Self(None))
    }

    /// The value of `Preference-Applied`, if less is granted than requested.
    pub(crate) fn cut_to(self, granted: Duration) -> Option<String> {
        self.0.filter(|requested| *requested > granted).map(|_| format!("wait={}", granted.as_secs()))
    }
}

impl FromRequest for Prefer {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.headers()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(value: &'static str) -> Result<Prefer, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static(value));
        Prefer::parse(&headers)
    }

    #[test]
    fn the_wait_is_found_among_other_preferences() {
        let ten = Prefer(Some(Duration::from_secs(10)));
        for value in ["wait=10", "respond-async, wait=10", "Wait = 10; x=y", "wait=\"10\""] {
            assert_eq!(read(value).unwrap(), ten, "{value}");
        }
        assert_eq!(read("return=minimal").unwrap(), Prefer(None));
        for value in ["wait=soon", "wait=-1", "wait="] {
            assert!(read(value).is_err(), "{value}");
        }
    }

    #[test]
    fn only_a_shortened_wait_is_reported() {
        let requested = Prefer(Some(Duration::from_mins(1)));
        assert_eq!(requested.cut_to(Duration::from_secs(30)).as_deref(), Some("wait=30"));
        assert_eq!(requested.cut_to(Duration::from_mins(1)), None);
        assert_eq!(Prefer(None).cut_to(Duration::ZERO), None);
    }
}
