//! `POST /v1/moderations`: OpenAI's moderations.

use actix_web::HttpResponse;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            posted::Posted,
        },
    },
    protocol::{Protocol, moderations},
};

/// Which texts are harmful, and how
///
/// Request and response are OpenAI's. Categories of the provider are mapped to OpenAI's; those that OpenAI lacks keep their names
/// and flag nothing.
#[utoipa::path(
    post, path = "/v1/moderations", tag = "moderations", operation_id = "create_moderation",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/ModerationRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The results", content((ref("#/components/schemas/Moderation") = "application/json"))),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(mut call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    let Posted { client, body, .. } = match call.take(posted) {
        Ok(posted) => posted,
        Err(error) => return call.refuse(Protocol::Moderations, &error),
    };
    let request = match body.and_then(|body| Ok(moderations::decode(body)?)) {
        Ok(request) => request,
        Err(error) => return call.reject(Protocol::Moderations, &client, &error),
    };
    let id = call.request_id().to_owned();
    let encode = move |moderation, model: &str| Some(moderations::encode(moderation, model, &id));
    call.compute(Protocol::Moderations, client, request, encode).await
}
