//! Every error response: its status, type, code and message. The only place where errors become HTTP.

use std::borrow::Cow;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    error::JsonPayloadError,
    http::{
        StatusCode as S,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::protocol::{BadRequest, Failure};

/// Every way a request can fail.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    #[error("{message}")]
    InvalidJson { message: String },
    #[error("{message}")]
    InvalidValue { param: Option<String>, message: String },
    #[error("{message}")]
    ContextTooLong { message: String },
    #[error("{message}")]
    Unsupported { param: Option<String>, message: String },
    /// The response that a request continues is not stored, or not for this client.
    #[error("{0}")]
    PreviousResponseNotFound(String),
    #[error("{0}")]
    InvalidKey(Cow<'static, str>),
    #[error("This key may not use the model `{0}`.")]
    ModelNotAllowed(String),
    #[error("This endpoint requires the admin key; the request has a client key.")]
    AdminRequired,
    /// A request with a session cookie that none of our own pages can have sent.
    #[error(
        "A session cookie is accepted only from pages of this origin, with the `x-csrf-token` of `GET /admin/v1/session`."
    )]
    CrossSite,
    /// A name that is not this machine's, on an open gateway that is for this machine only.
    #[error(
        "This gateway serves this machine without a key, and only under its own names. Call it at http://localhost, or add \
         the name to `http.hosts`."
    )]
    HostNotAllowed,
    /// The replica has as many requests, or as many bytes of bodies, as it may have.
    #[error("{message}")]
    Overloaded { message: String },
    #[error("Too many failed admin logins from this address. Try again in {} s.", .retry_ms.div_euclid(1_000) + 1)]
    TooManyAttempts { retry_ms: i64 },
    /// The state or the source of the resource does not permit the change.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },
    /// The provider does not accept the key that an administrator has sent.
    #[error("{0}")]
    ProviderKeyRefused(String),
    #[error("{0}")]
    ModelNotFound(String),
    #[error("{0}")]
    NotFound(String),
    #[error("`{path}` does not support {method}. Supported: {allow}.")]
    MethodNotAllowed { method: String, path: String, allow: String },
    #[error("The content encoding `{0}` is not supported. Supported: gzip, deflate, br, zstd.")]
    UnsupportedEncoding(String),
    #[error("The request is larger than {max} bytes (`http.body_bytes`, or `http.upload_bytes` for recordings).")]
    TooLarge { max: usize },
    #[error("{message}")]
    ClientQuota { message: String, retry_ms: i64 },
    #[error("{message}")]
    NoBudget { message: String, retry_ms: i64 },
    /// No candidate is full, and each is down.
    #[error("{message}")]
    NoProvider { message: String, retry_ms: i64 },
    /// A provider rejected the request. Its status and message are passed on.
    #[error("{provider}: {message}")]
    Rejected { status: u16, provider: String, message: String, code: Option<String> },
    #[error("{message}")]
    AllFailed { message: String },
    #[error("{message}")]
    TimedOut { message: String },
    #[error("{message}")]
    LedgerUnavailable { message: String, retry_ms: i64 },
    #[error("No admin key is set. Set TOLLFREE_ADMIN_KEY and restart the gateway.")]
    AdminKeyNotSet,
    /// A defect of the gateway. The details are in the log.
    #[error("Internal error. The log of the gateway has the details under this x-request-id.")]
    Internal,
}

/// The OpenAI SDKs ignore a longer `retry-after` and retry after a guessed delay, so `x-should-retry` stops them.
const MAX_SDK_WAIT_MS: i64 = 60_000;
/// Retry interval while a replica is overloaded: requests end all the time.
const OVERLOAD_RETRY_MS: i64 = 1_000;
/// Retry interval while no admin key is set: only a restart can set one.
const ADMIN_KEY_RETRY_MS: i64 = 60_000;

const REQUEST: &str = "invalid_request_error";
const KEY: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl ApiError {
    /// Status, `type` and `code` of each error: the contract with clients.
    fn row(&self) -> (S, &'static str, Option<&str>) {
        let (status, kind, code) = match self {
            Self::InvalidJson { .. } => (S::BAD_REQUEST, REQUEST, "invalid_json"),
            Self::InvalidValue { .. } => (S::BAD_REQUEST, REQUEST, "invalid_value"),
            Self::ContextTooLong { .. } => (S::BAD_REQUEST, REQUEST, "context_length_exceeded"),
            Self::Unsupported { .. } => (S::BAD_REQUEST, REQUEST, "unsupported_by_models"),
            Self::PreviousResponseNotFound(_) => (S::BAD_REQUEST, REQUEST, "previous_response_not_found"),
            Self::InvalidKey(_) => (S::UNAUTHORIZED, KEY, "invalid_api_key"),
            Self::ModelNotAllowed(_) => (S::FORBIDDEN, PERMISSION, "model_not_allowed"),
            Self::AdminRequired => (S::FORBIDDEN, PERMISSION, "admin_required"),
            Self::CrossSite => (S::FORBIDDEN, PERMISSION, "cross_site_request"),
            Self::HostNotAllowed => (S::FORBIDDEN, PERMISSION, "host_not_allowed"),
            Self::Overloaded { .. } => (S::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
            Self::TooManyAttempts { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "too_many_attempts"),
            Self::Conflict { code, .. } => (S::CONFLICT, REQUEST, *code),
            Self::ProviderKeyRefused(_) => (S::BAD_REQUEST, REQUEST, "provider_key_refused"),
            Self::ModelNotFound(_) => (S::NOT_FOUND, REQUEST, "model_not_found"),
            Self::NotFound(_) => (S::NOT_FOUND, REQUEST, "not_found"),
            Self::MethodNotAllowed { .. } => (S::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Self::UnsupportedEncoding(_) => (S::UNSUPPORTED_MEDIA_TYPE, REQUEST, "unsupported_encoding"),
            Self::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large"),
            Self::ClientQuota { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "client_quota_exceeded"),
            Self::NoBudget { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "budget_exhausted"),
            Self::NoProvider { .. } => (S::SERVICE_UNAVAILABLE, SERVER, "no_provider_available"),
            Self::AllFailed { .. } => (S::BAD_GATEWAY, SERVER, "upstream_error"),
            Self::TimedOut { .. } => (S::GATEWAY_TIMEOUT, SERVER, "upstream_timeout"),
            Self::LedgerUnavailable { .. } => (S::SERVICE_UNAVAILABLE, SERVER, "ledger_unavailable"),
            Self::AdminKeyNotSet => (S::SERVICE_UNAVAILABLE, SERVER, "admin_key_not_set"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
            Self::Rejected { status, code, .. } => {
                let status = S::from_u16(*status).unwrap_or(S::BAD_REQUEST);
                let kind = if status == S::FORBIDDEN { PERMISSION } else { REQUEST };
                return (status, kind, code.as_deref());
            }
        };
        (status, kind, Some(code))
    }

    /// The field of the request that caused the error.
    fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { param, .. } | Self::Unsupported { param, .. } => param.as_deref(),
            Self::ContextTooLong { .. } => Some("messages"),
            Self::UnsupportedEncoding(_) => Some("content-encoding"),
            Self::PreviousResponseNotFound(_) => Some("previous_response_id"),
            Self::ProviderKeyRefused(_) => Some("key"),
            Self::ModelNotFound(_) | Self::ModelNotAllowed(_) => Some("model"),
            _ => None,
        }
    }

    /// When to retry, in milliseconds from now; set for every 429 and 503.
    pub(crate) fn retry_ms(&self) -> Option<i64> {
        match self {
            Self::ClientQuota { retry_ms, .. }
            | Self::NoBudget { retry_ms, .. }
            | Self::NoProvider { retry_ms, .. }
            | Self::TooManyAttempts { retry_ms }
            | Self::LedgerUnavailable { retry_ms, .. } => Some((*retry_ms).max(1)),
            Self::AdminKeyNotSet => Some(ADMIN_KEY_RETRY_MS),
            Self::Overloaded { .. } => Some(OVERLOAD_RETRY_MS),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.row().2
    }

    /// The error as other protocols write it.
    pub(crate) fn failure(&self) -> Failure {
        let (status, kind, code) = self.row();
        Failure {
            status: status.as_u16(),
            kind: kind.to_owned(),
            code: code.map(str::to_owned),
            param: self.param().map(str::to_owned),
            message: self.to_string(),
            retry_ms: self.retry_ms(),
        }
    }

    /// The body of the error response, also sent as an event where a stream has already begun.
    pub(crate) fn envelope(&self) -> Envelope {
        let (_, kind, code) = self.row();
        let error = ErrorBody {
            message: self.to_string(),
            kind,
            param: self.param().map(str::to_owned),
            code: code.map(str::to_owned),
        };
        Envelope { error }
    }
}

impl From<BadRequest> for ApiError {
    fn from(bad: BadRequest) -> Self {
        match bad.code {
            "invalid_json" => Self::InvalidJson { message: bad.message },
            "previous_response_not_found" => Self::PreviousResponseNotFound(bad.message),
            _ => Self::InvalidValue { param: bad.param, message: bad.message },
        }
    }
}

impl From<&JsonPayloadError> for ApiError {
    fn from(error: &JsonPayloadError) -> Self {
        match error {
            JsonPayloadError::Overflow { limit } | JsonPayloadError::OverflowKnownLength { limit, .. } => {
                Self::TooLarge { max: *limit }
            }
            JsonPayloadError::Deserialize(e) if e.is_data() => {
                Self::InvalidValue { param: None, message: e.to_string() }
            }
            JsonPayloadError::ContentType => Self::InvalidValue {
                param: Some("content-type".to_owned()),
                message: "Send JSON with the content type `application/json`.".to_owned(),
            },
            other => Self::InvalidJson { message: other.to_string() },
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> S {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Self::MethodNotAllowed { allow, .. } = self {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if self.status_code() == S::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"tollfree\""));
        }
        if let Some(retry_ms) = self.retry_ms() {
            insert_retry(&mut response, retry_ms);
            if matches!(self, Self::AdminKeyNotSet | Self::TooManyAttempts { .. }) || retry_ms > MAX_SDK_WAIT_MS {
                response.insert_header(("x-should-retry", "false"));
            }
        }
        let code = self.code().map(|code| ErrorCode(code.to_owned()));
        let mut response = response.json(self.envelope());
        if let Some(code) = code {
            response.extensions_mut().insert(code);
        }
        response
    }
}

/// Extension of an error response, by which the middleware logs the code.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCode(pub String);

/// `retry-after` in whole seconds, rounded up, and `retry-after-ms`, which the OpenAI SDKs prefer.
fn insert_retry(response: &mut HttpResponseBuilder, retry_ms: i64) {
    let seconds = retry_ms / 1_000 + i64::from(retry_ms % 1_000 > 0);
    response.insert_header((RETRY_AFTER, seconds)).insert_header(("retry-after-ms", retry_ms));
}

/// The body of every error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope {
    pub error: ErrorBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What happened and when to retry
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error`, `server_error`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field of the request that caused the error, such as `messages[2].content`
    #[schema(required)]
    pub param: Option<String>,
    /// A code for programs; the provider's own where a provider rejected the request
    #[schema(required)]
    pub code: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|v| v.to_str().unwrap())
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up_beside_milliseconds() {
        let response = ApiError::NoBudget { message: "full".into(), retry_ms: 1_001 }.error_response();
        assert_eq!(response.status(), S::TOO_MANY_REQUESTS);
        assert_eq!(header(&response, "retry-after"), Some("2"));
        assert_eq!(header(&response, "retry-after-ms"), Some("1001"));
        assert_eq!(header(&response, "x-should-retry"), None);
    }

    #[test]
    fn a_wait_longer_than_sdks_sleep_is_marked_as_not_to_be_retried() {
        let at = |retry_ms| ApiError::LedgerUnavailable { message: String::new(), retry_ms }.error_response();
        assert_eq!(header(&at(60_000), "x-should-retry"), None);
        assert_eq!(header(&at(60_001), "x-should-retry"), Some("false"));
        assert_eq!(header(&at(0), "retry-after"), Some("1"));
    }

    #[test]
    fn a_rejection_keeps_the_providers_status_name_and_code() {
        let error = ApiError::Rejected {
            status: 422,
            provider: "mistral".into(),
            message: "temperature is too high".into(),
            code: None,
        };
        assert_eq!(error.status_code(), S::UNPROCESSABLE_ENTITY);
        let json = serde_json::to_value(error.envelope()).unwrap();
        assert_eq!(json["error"]["message"], "mistral: temperature is too high");
        assert_eq!(json["error"]["type"], "invalid_request_error");
        assert!(json["error"]["code"].is_null() && json["error"]["param"].is_null());
    }
}
