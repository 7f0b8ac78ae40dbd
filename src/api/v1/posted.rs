//! What a client posts to an endpoint of a model: its identity, the headers, and the body.

use std::{future::Future, pin::Pin, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    web::{Bytes, BytesMut, Data},
};
use futures_util::StreamExt;

use crate::{
    api::edge::{auth, error::ApiError, state::AppState},
    domain::Client,
    ledger::MAX_RECORD_AGE,
};

/// The authenticated caller and its body. Authentication comes first, so that errors in the body are reported to authenticated
/// callers only.
pub(crate) struct Posted {
    pub client: Client,
    /// The request, for its headers.
    pub request: HttpRequest,
    pub body: Result<Bytes, ApiError>,
}

/// A caller that sends nothing of its body for this long is taken to have left.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl FromRequest for Posted {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let max = request.app_data::<Data<AppState>>().map_or(0, |state| state.policy.load().body_bytes);
        let headers = check_headers(request, max);
        let request = request.clone();
        Box::pin(async move {
            // Admission compares the version of a cached record, so an old one is good enough here.
            let client = auth::client(request.clone(), MAX_RECORD_AGE).await?;
            let body = match headers {
                Ok(()) => read_body(payload, max).await,
                Err(error) => Err(error),
            };
            Ok(Self { client, request, body })
        })
    }
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
    match text(CONTENT_ENCODING) {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            return invalid("content-encoding", format!("The body is encoded as `{coding}`; send it uncompressed."));
        }
        _ => {}
    }
    match text(CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok()) {
        Some(length) if length > max as u64 => Err(ApiError::TooLarge { max }),
        _ => Ok(()),
    }
}

/// Reads the whole body, at most `max` bytes.
async fn read_body(mut payload: Payload, max: usize) -> Result<Bytes, ApiError> {
    let incomplete = |why: String| ApiError::InvalidJson { message: format!("The body ended early: {why}.") };
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(BODY_IDLE_TIMEOUT, payload.next()).await;
        match chunk.map_err(|_| incomplete(format!("no data for {} s", BODY_IDLE_TIMEOUT.as_secs())))? {
            None => return Ok(body.freeze()),
            Some(Ok(chunk)) if body.len() + chunk.len() > max => return Err(ApiError::TooLarge { max }),
            Some(Ok(chunk)) => body.extend_from_slice(&chunk),
            Some(Err(PayloadError::Incomplete(_))) => return Err(incomplete("the connection was closed".to_owned())),
            Some(Err(error)) => return Err(incomplete(error.to_string())),
        }
    }
}
