//! `POST /v1/rerank`: ranking of documents, as at Cohere and Jina.

use actix_web::HttpResponse;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            posted::Posted,
        },
    },
    protocol::{Protocol, rerank},
};

/// Documents in the order of their relevance to a query
///
/// Request and response have the form that Cohere and Jina share. `return_documents` puts the documents into the results.
#[utoipa::path(
    post, path = "/v1/rerank", tag = "rerank", operation_id = "rerank_documents",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/RerankRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The results", content((ref("#/components/schemas/Ranking") = "application/json"))),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(mut call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    let Posted { client, body, .. } = match call.take(posted) {
        Ok(posted) => posted,
        Err(error) => return call.refuse(Protocol::Rerank, &error),
    };
    let read = match body.and_then(|body| Ok(rerank::decode(body)?)) {
        Ok(read) => read,
        Err(error) => return call.reject(Protocol::Rerank, &client, &error),
    };
    let id = call.request_id().to_owned();
    let documents =
        read.request.ranking.as_ref().filter(|_| read.returns_documents).map(|inputs| inputs.documents.clone());
    let encode = move |ranking, model: &str| Some(rerank::encode(&ranking, documents.as_deref(), model, &id));
    call.compute(Protocol::Rerank, client, read.request, encode).await
}
