//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's Messages.

use actix_web::{HttpResponse, http::header::HeaderMap, web::Data};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{error::ApiError, keep_alive::event_stream, request_id::RequestId, state::AppState},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders, estimate_prompt},
            posted::Posted,
            refusal::{own_headers, refuse},
        },
    },
    domain::{Client, Tier},
    protocol::{Protocol, ReplyInfo, messages},
};

/// A message, whole or as a stream
///
/// Request and response are Anthropic's. The model is any name that a chat completion accepts; names that begin with `claude-`
/// stand for `free-smart`, those of a haiku for `free-fast`, unless the configuration maps them elsewhere.
///
/// With `"stream": true` the response is a stream of Anthropic's events. An event `ping` keeps the connection alive while there
/// is no content. An error after the headers is sent as an event `error`, after which no `message_stop` comes.
#[utoipa::path(
    post, path = "/v1/messages", tag = "messages", operation_id = "create_message",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/MessagesRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The message", content(
            (ref("#/components/schemas/Message") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
    ),
)]
pub(crate) async fn create(mut call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    let Posted { client, request, body, .. } = match call.take(posted) {
        Ok(posted) => posted,
        Err(error) => return call.refuse(Protocol::Messages, &error),
    };
    let read = match body.and_then(|body| Ok(messages::decode(body)?)) {
        Ok(read) => read,
        Err(error) => return call.reject(Protocol::Messages, &client, &error),
    };
    if read.is_empty {
        return match empty(&call, &client, read) {
            Ok(response) => response,
            Err(error) => call.reject(Protocol::Messages, &client, &error),
        };
    }
    let gives_way = is_background(request.headers()) && call.state.flow.is_contended(&client, &read.request);
    let read = if gives_way { read.in_tier(Tier::Flex) } else { read };
    call.serve(Protocol::Messages, client, read.into()).await
}

/// The answer without tokens, for which no provider is called.
fn empty(call: &Call, client: &Client, mut read: messages::MessagesRequest) -> Result<HttpResponse, ApiError> {
    let prompt_tokens = estimate_prompt(&call.state, client, &read.request)?;
    let info = ReplyInfo { model: read.request.model.as_str().into(), prompt_tokens };
    let streams = read.request.stream;
    let body = read.encoder.empty(&info, streams);
    let mut response = HttpResponse::Ok();
    let mut response = if streams {
        event_stream(&mut response).body(body)
    } else {
        response.content_type("application/json").body(body)
    };
    own_headers(Protocol::Messages, response.headers_mut(), call.request_id());
    Ok(response)
}

/// Whether the client marks the request as background work, which comes after other requests while there is little left.
fn is_background(headers: &HeaderMap) -> bool {
    let class = headers.get("x-claude-code-request-class").and_then(|value| value.to_str().ok());
    matches!(class, Some("auxiliary" | "workflow"))
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageTokens)]
pub(crate) struct Count {
    /// Estimated tokens of the prompt
    input_tokens: i64,
}

/// Estimated tokens of a prompt
///
/// The estimate is that of admission, corrected by what the model's provider has counted so far. It costs no budget.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "messages", operation_id = "count_message_tokens",
    security(("client_key" = [])),
    request_body(content = ref("#/components/schemas/MessagesRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The estimate", body = Count),
        (status = 403, description = "model_not_allowed"),
        (status = 404, description = "model_not_found"),
    ),
)]
pub(crate) async fn count_tokens(
    state: Data<AppState>,
    id: RequestId,
    posted: Result<Posted, ApiError>,
) -> HttpResponse {
    let counted = posted.and_then(|Posted { client, body, memory: _memory, .. }| {
        let read = messages::decode_count(body?)?;
        estimate_prompt(&state, &client, &read.request)
    });
    match counted {
        Ok(input_tokens) => {
            let mut response = HttpResponse::Ok().json(Count { input_tokens });
            own_headers(Protocol::Messages, response.headers_mut(), &id.0);
            response
        }
        Err(error) => refuse(Protocol::Messages, &error, &id.0),
    }
}
