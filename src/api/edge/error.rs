//! What a client is told. Inner rooms know nothing of HTTP; this file knows nothing else.

use std::borrow::Cow;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{
        StatusCode as S,
        header::{ALLOW, RETRY_AFTER},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

/// Every way a request can end without an answer.
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
    #[error("{0}")]
    InvalidKey(Cow<'static, str>),
    #[error("This key may not use the model `{0}`.")]
    ModelNotAllowed(String),
    #[error("This endpoint takes the admin key; a client key was shown.")]
    AdminRequired,
    /// A session's cookie came with a request that no page of ours sends.
    #[error(
        "By a session's cookie only pages of this origin may call, with the `x-csrf-token` of `GET /admin/v1/session`."
    )]
    CrossSite,
    #[error("Too many wrong admin keys came from this address. It is listened to again in {} s.", .retry_ms.div_euclid(1_000) + 1)]
    TooManyAttempts { retry_ms: i64 },
    /// What it is by now, or who keeps it, forbids the change.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },
    #[error("{0}")]
    ModelNotFound(String),
    #[error("{0}")]
    NotFound(String),
    #[error("`{path}` does not take {method}. It takes {allow}.")]
    MethodNotAllowed { method: String, path: String, allow: String },
    #[error("The request is larger than {max} bytes (`http.body_bytes`).")]
    TooLarge { max: usize },
    #[error("{message}")]
    ClientQuota { message: String, retry_ms: i64 },
    #[error("{message}")]
    NoBudget { message: String, retry_ms: i64 },
    /// A mistake that only a provider could see; its own words and status.
    #[error("{provider}: {message}")]
    Rejected { status: u16, provider: String, message: String, code: Option<String> },
    #[error("{message}")]
    AllFailed { message: String },
    #[error("{message}")]
    TimedOut { message: String },
    #[error("{message}")]
    LedgerAway { message: String, retry_ms: i64 },
    #[error("No admin key is set. Set TOLLFREE_ADMIN_KEY and start again.")]
    AdminKeyNotSet,
    /// Our mistake; what happened is in the log.
    #[error("Something went wrong inside the gateway. The log has it under this x-request-id.")]
    Internal,
}

/// After a longer wait than this the OpenAI SDKs would not sleep but guess, so they are told not to try again.
const SDK_WAIT_MS: i64 = 60_000;
/// An admin key appears only with a restart.
const RESTART_MS: i64 = 60_000;

const REQUEST: &str = "invalid_request_error";
const KEY: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl ApiError {
    /// The whole contract with OpenAI SDKs, on one screen: status, `type`, `code`.
    fn row(&self) -> (S, &'static str, Option<&str>) {
        let (status, kind, code) = match self {
            Self::InvalidJson { .. } => (S::BAD_REQUEST, REQUEST, "invalid_json"),
            Self::InvalidValue { .. } => (S::BAD_REQUEST, REQUEST, "invalid_value"),
            Self::ContextTooLong { .. } => (S::BAD_REQUEST, REQUEST, "context_length_exceeded"),
            Self::Unsupported { .. } => (S::BAD_REQUEST, REQUEST, "unsupported_by_models"),
            Self::InvalidKey(_) => (S::UNAUTHORIZED, KEY, "invalid_api_key"),
            Self::ModelNotAllowed(_) => (S::FORBIDDEN, PERMISSION, "model_not_allowed"),
            Self::AdminRequired => (S::FORBIDDEN, PERMISSION, "admin_required"),
            Self::CrossSite => (S::FORBIDDEN, PERMISSION, "cross_site_request"),
            Self::TooManyAttempts { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "too_many_attempts"),
            Self::Conflict { code, .. } => (S::CONFLICT, REQUEST, *code),
            Self::ModelNotFound(_) => (S::NOT_FOUND, REQUEST, "model_not_found"),
            Self::NotFound(_) => (S::NOT_FOUND, REQUEST, "not_found"),
            Self::MethodNotAllowed { .. } => (S::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Self::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large"),
            Self::ClientQuota { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "client_quota_exceeded"),
            Self::NoBudget { .. } => (S::TOO_MANY_REQUESTS, LIMIT, "budget_exhausted"),
            Self::AllFailed { .. } => (S::BAD_GATEWAY, SERVER, "upstream_error"),
            Self::TimedOut { .. } => (S::GATEWAY_TIMEOUT, SERVER, "upstream_timeout"),
            Self::LedgerAway { .. } => (S::SERVICE_UNAVAILABLE, SERVER, "ledger_unavailable"),
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

    /// What of the request is at fault.
    fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { param, .. } | Self::Unsupported { param, .. } => param.as_deref(),
            Self::ContextTooLong { .. } => Some("messages"),
            Self::ModelNotFound(_) | Self::ModelNotAllowed(_) => Some("model"),
            _ => None,
        }
    }

    /// When to come back, ms; on every 429 and 503.
    pub fn retry_ms(&self) -> Option<i64> {
        match self {
            Self::ClientQuota { retry_ms, .. }
            | Self::NoBudget { retry_ms, .. }
            | Self::TooManyAttempts { retry_ms }
            | Self::LedgerAway { retry_ms, .. } => Some((*retry_ms).max(1)),
            Self::AdminKeyNotSet => Some(RESTART_MS),
            _ => None,
        }
    }

    pub fn code(&self) -> Option<&str> {
        self.row().2
    }

    /// The one envelope, as it stands in a body and in a stream that cannot change its status any more.
    pub fn envelope(&self) -> Envelope {
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

impl ResponseError for ApiError {
    fn status_code(&self) -> S {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Self::MethodNotAllowed { allow, .. } = self {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if let Some(retry_ms) = self.retry_ms() {
            insert_retry(&mut response, retry_ms);
            if matches!(self, Self::AdminKeyNotSet | Self::TooManyAttempts { .. }) || retry_ms > SDK_WAIT_MS {
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

/// Rides with an error's response to the log line.
#[derive(Debug, Clone)]
pub struct ErrorCode(pub String);

/// `retry-after` in whole seconds, rounded up, and `retry-after-ms`, which the OpenAI SDKs prefer.
fn insert_retry(response: &mut HttpResponseBuilder, retry_ms: i64) {
    let seconds = retry_ms / 1_000 + i64::from(retry_ms % 1_000 > 0);
    response.insert_header((RETRY_AFTER, seconds)).insert_header(("retry-after-ms", retry_ms));
}

/// Every error, whatever its status.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope {
    pub error: ErrorBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What happened, whose fault it was, and when to come back.
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error`, `server_error`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What of the request is at fault: `messages[2].content`.
    #[schema(required)]
    pub param: Option<String>,
    /// For programs; of a provider's own refusal it is the provider's.
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
    fn retry_after_is_whole_seconds_rounded_up_and_ms_beside_it() {
        let response = ApiError::NoBudget { message: "full".into(), retry_ms: 1_001 }.error_response();
        assert_eq!(response.status(), S::TOO_MANY_REQUESTS);
        assert_eq!(header(&response, "retry-after"), Some("2"));
        assert_eq!(header(&response, "retry-after-ms"), Some("1001"));
        assert_eq!(header(&response, "x-should-retry"), None);
    }

    #[test]
    fn a_wait_that_an_sdk_would_not_sleep_is_not_to_be_retried() {
        let at = |retry_ms| ApiError::LedgerAway { message: String::new(), retry_ms }.error_response();
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
