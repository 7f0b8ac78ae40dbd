//! Error responses and headers in the form of the caller's protocol.

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

use crate::{
    api::edge::error::ApiError,
    protocol::{self, Protocol},
};

/// The error response of a protocol.
pub(crate) fn refuse(protocol: Protocol, error: &ApiError, request_id: &str) -> HttpResponse {
    let response = error.error_response();
    match protocol {
        Protocol::Chat
        | Protocol::Embeddings
        | Protocol::Completions
        | Protocol::Fim
        | Protocol::Rerank
        | Protocol::Moderations
        | Protocol::Transcriptions => response,
        Protocol::Responses => {
            let mut envelope = error.envelope();
            let renamed = envelope.error.param.as_deref().and_then(protocol::responses::parameter_name);
            let Some(name) = renamed else { return response };
            envelope.error.param = Some(name.to_owned());
            response.set_body(serde_json::to_string(&envelope).unwrap_or_default()).map_into_boxed_body()
        }
        Protocol::Messages => {
            let reply = protocol::messages::error(&error.failure(), request_id);
            let mut response = response.set_body(reply.body);
            *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            own_headers(protocol, response.headers_mut(), request_id);
            response.map_into_boxed_body()
        }
    }
}

/// The headers that a protocol adds to every response.
pub(crate) fn own_headers(protocol: Protocol, headers: &mut HeaderMap, request_id: &str) {
    if protocol == Protocol::Messages
        && let Ok(id) = HeaderValue::from_str(request_id)
    {
        headers.insert(HeaderName::from_static("request-id"), id);
    }
}
