//! `POST /v1/embeddings`: OpenAI's embeddings.

use actix_web::HttpResponse;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            posted::Posted,
            responders,
        },
    },
    protocol::{Protocol, embeddings},
};

/// Vectors of texts
///
/// Request and response are OpenAI's. The model is `provider/model`, or a name that several providers serve. A request fails
/// over only between models that compute the same vectors: of one family, and of one length.
///
/// More texts than a provider takes in one call are split: each call is admitted by itself, and repeated by itself where it
/// fails. Texts are sent as they are; tokens as input are refused.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "embeddings", operation_id = "create_embeddings",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/EmbeddingsRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The vectors, in the order of the texts", content(
            (ref("#/components/schemas/Embeddings") = "application/json"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(mut call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    let protocol = Protocol::Embeddings;
    let Posted { client, body, .. } = match call.take(posted) {
        Ok(posted) => posted,
        Err(error) => return call.refuse(protocol, &error),
    };
    let request = match body.and_then(|body| Ok(embeddings::decode(body)?)) {
        Ok(request) => request,
        Err(error) => return call.reject(protocol, &client, &error),
    };
    let flow = call.state.flow.clone();
    let (context, wait) = match call.context(protocol, &client, &request.model, request.tier) {
        Ok(context) => context,
        Err(error) => return call.reject(protocol, &client, &error),
    };
    let reply = Box::pin(flow.embed(client, request, context.attempt_log.clone(), wait)).await;
    responders::respond(reply, None, &context)
}
