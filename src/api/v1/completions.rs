//! `POST /v1/completions` and `/v1/fim/completions`: completions of a prompt, for editors and older clients.

use actix_web::HttpResponse;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            posted::Posted,
        },
    },
    protocol::{
        Protocol,
        completions::{self, Form},
    },
};

/// The completion of a prompt, whole or as a stream
///
/// Request and response are OpenAI's. A `suffix` is what follows the completion; only models with the capability `fim` take one.
/// Models that only chat get the prompt as a message of their user.
#[utoipa::path(
    post, path = "/v1/completions", tag = "completions", operation_id = "create_completion",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/CompletionRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The completion", content(
            (ref("#/components/schemas/Completion") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    call.answer(Protocol::Completions, posted, |body, _| completions::decode(body, Form::Text)).await
}

/// The completion between a prompt and a suffix, whole or as a stream
///
/// Request and response are Mistral's: the answer has the form of a chat completion.
#[utoipa::path(
    post, path = "/v1/fim/completions", tag = "completions", operation_id = "create_fim_completion",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/CompletionRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The completion", content(
            (ref("#/components/schemas/ChatCompletion") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create_fim(call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    call.answer(Protocol::Fim, posted, |body, _| completions::decode(body, Form::Chat)).await
}
