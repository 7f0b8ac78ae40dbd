//! What a client posts to an endpoint of a model: its identity, the headers, and the body.

use std::{future::Future, pin::Pin, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_TYPE, HeaderMap},
    web::{Bytes, Data},
};

use crate::{
    api::{
        edge::{auth, body, error::ApiError, state::AppState},
        v1::prefer::Prefer,
    },
    domain::Client,
    ledger::MAX_RECORD_AGE,
    memory::Reservation,
};

/// The authenticated caller and its body. Authentication comes first, so that errors in the body are reported to authenticated
/// callers only.
pub(crate) struct Posted {
    pub client: Client,
    /// The request, for its headers.
    pub request: HttpRequest,
    pub body: Result<Bytes, ApiError>,
    /// For the body, as long as anything of it is kept: longer than the handler, where the response begins early.
    pub memory: Option<Reservation>,
}

impl FromRequest for Posted {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let state = request.app_data::<Data<AppState>>().cloned();
        let max = state.as_ref().map_or(0, |state| state.policy.load().body_bytes);
        let headers = check_headers(request, max);
        let request = request.clone();
        Box::pin(async move {
            // Admission compares the version of a cached record, so an old one is good enough here.
            let wait = state.as_ref().map_or(Duration::ZERO, |state| outage_wait(state, request.headers()));
            let client = auth::client(request.clone(), MAX_RECORD_AGE, wait).await?;
            let mut memory = state.map(|state| state.bodies.reserve(client.id.clone()));
            let body = match headers {
                Ok(()) => body::read(&request, payload, max, &mut memory).await,
                Err(error) => Err(error),
            };
            Ok(Self { client, request, body, memory })
        })
    }
}

/// How long a caller whose key cannot be checked waits for the ledger. Its own default is not known before.
pub(super) fn outage_wait(state: &AppState, headers: &HeaderMap) -> Duration {
    let preferred = Prefer::parse(headers).ok().and_then(|prefer| prefer.0);
    let max_wait = state.flow.wait_limits.max_wait;
    preferred.map_or(max_wait, |preferred| preferred.min(max_wait))
}

/// Checks what can be checked before the body is read. The required content type also keeps pages of other origins out,
/// because browsers send it only after a preflight.
fn check_headers(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).map(|v| v.to_str().unwrap_or("?"));
    let invalid = |param: &str, message| Err(ApiError::InvalidValue { param: Some(param.to_owned()), message });
    let content_type = text(CONTENT_TYPE);
    let essence = content_type.and_then(|v| v.split(';').next()).map(str::trim);
    match (essence, content_type) {
        (Some(essence), _) if essence.eq_ignore_ascii_case("application/json") => {}
        (_, Some(other)) => {
            return invalid("content-type", format!("The content type is `{other}`; send `application/json`."));
        }
        (_, None) => {
            return invalid("content-type", "There is no content type; send `application/json`.".to_owned());
        }
    }
    body::check_length(request, max)
}
