//! The OpenAPI document, made from the annotations of the handlers and their types.
//!
//! A new handler needs its URL in `routes.rs`, its name in [`Handlers`] below, `#[utoipa::path(…)]` above it and `ToSchema` on
//! its types; `tests/it/gateway/openapi.rs` fails until all of them are there. The first line of the doc comment becomes the
//! summary, the rest the description. `security(("client_key" = []))` or `("admin_key" = [])` states who may call; without
//! it the endpoint is public. An error is annotated as its status and codes, `(status = 404, description = "not_found")`:
//! [`enrich`] makes the complete response of it, and adds the errors that all such handlers have, all headers and the server
//! `/api`. A new code needs an example in `error_examples.rs`.

#[expect(dead_code, clippy::struct_field_names, reason = "only described in the document, and named by the protocol")]
mod chat_schema;
mod client_schema;
mod enrich;
mod error_examples;
#[expect(dead_code, clippy::struct_field_names, reason = "only described in the document, and named by the protocol")]
mod kinds_schema;
#[expect(dead_code, clippy::struct_field_names, reason = "only described in the document, and named by the protocol")]
mod messages_schema;
#[expect(dead_code, reason = "only described in the document")]
mod responses_schema;

use std::sync::LazyLock;

use actix_web::web::Data;
use utoipa::OpenApi;

use crate::api::{
    admin, dashboard,
    docs::{self, ApiDocs},
    edge::error,
    setup, v1,
};

/// Every handler, in the order of `routes.rs`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollfree",
        description = "One OpenAI-compatible URL over every free LLM tier, on one exact budget.\n\n\
            All paths below `/v1` are also served below `/api/v1`. Every error has the same body: \
            `{\"error\":{\"message\",\"type\",\"param\",\"code\"}}`. A client that sleeps for `retry-after-ms` succeeds \
            with its next attempt, unless others used the room first.",
    ),
    paths(
        v1::chat::create,
        v1::transcriptions::create,
        v1::transcriptions::translate,
        v1::rerank::create,
        v1::moderations::create,
        v1::completions::create,
        v1::completions::create_fim,
        v1::embeddings::create,
        v1::responses::create,
        v1::responses::count_tokens,
        v1::responses::compact,
        v1::responses::stored::show,
        v1::responses::stored::delete,
        v1::responses::stored::list_items,
        v1::responses::stored::cancel,
        v1::messages::create,
        v1::messages::count_tokens,
        v1::models::list,
        v1::models::show,
        v1::usage::show_own,
        v1::stream_test::stream_events,
        v1::status::show,
        admin::controls::set_strategy,
        admin::controls::switch_provider,
        admin::controls::reset_provider,
        admin::controls::switch_model,
        admin::requests::list,
        admin::usage::show,
        admin::budget::show,
        admin::budget::forget,
        admin::events::stream_events,
        admin::models::list,
        admin::provider_keys::list_providers,
        admin::provider_keys::refresh,
        admin::provider_keys::switch,
        admin::provider_keys::list,
        admin::provider_keys::add,
        admin::provider_keys::change,
        admin::provider_keys::delete,
        admin::provider_keys::test,
        admin::session::show,
        admin::session::create,
        admin::session::delete,
        admin::clients::list,
        admin::clients::create,
        admin::clients::show,
        admin::clients::change,
        admin::clients::delete,
        admin::clients::rotate,
        admin::clients::revoke,
        admin::audit::list,
        admin::config::show,
        v1::health::alive,
        v1::health::ready,
        v1::metrics::show,
        dashboard::page,
        docs::json,
        docs::page,
        setup::show_page,
        setup::show_script,
        setup::make_files,
    ),
    components(schemas(
        error::Envelope,
        chat_schema::ChatRequest,
        chat_schema::ChatCompletion,
        chat_schema::ChatChunk,
        kinds_schema::TranscriptionRequest,
        kinds_schema::Transcription,
        kinds_schema::RerankRequest,
        kinds_schema::Ranking,
        kinds_schema::ModerationRequest,
        kinds_schema::Moderation,
        kinds_schema::CompletionRequest,
        kinds_schema::Completion,
        kinds_schema::EmbeddingsRequest,
        kinds_schema::Embeddings,
        responses_schema::ResponsesRequest,
        responses_schema::ResponsesCompactRequest,
        responses_schema::ResponsesObject,
        responses_schema::ResponsesCompaction,
        messages_schema::MessagesRequest,
        messages_schema::Message,
        messages_schema::MessagesError,
        client_schema::ClientChange,
        client_schema::ClientLimits,
        client_schema::Rotation,
    )),
    tags(
        (name = "chat", description = "Chat completions"),
        (name = "audio", description = "Transcripts of recordings"),
        (name = "rerank", description = "Ranking of documents"),
        (name = "moderations", description = "Harmful texts"),
        (name = "completions", description = "Completions of a prompt, for editors"),
        (name = "embeddings", description = "Vectors of texts"),
        (name = "responses", description = "OpenAI's Responses"),
        (name = "messages", description = "Anthropic's Messages, for coding agents and Anthropic's SDKs"),
        (name = "models", description = "Models and meta-models"),
        (name = "status", description = "State of the providers, and switches that apply to all replicas"),
        (name = "clients", description = "Clients, their keys and limits"),
        (name = "providers", description = "Providers and their keys"),
        (name = "usage", description = "Usage, remaining budget and finished requests"),
        (name = "admin", description = "Sessions, audit log and configuration"),
        (name = "service", description = "Probes, metrics and pages"),
    ),
)]
struct Handlers;

/// The document, made once per process.
pub(crate) fn api_docs() -> Data<ApiDocs> {
    static DOCS: LazyLock<Data<ApiDocs>> = LazyLock::new(|| {
        let document = serde_json::to_value(Handlers::openapi()).expect("the document is plain data");
        Data::new(ApiDocs::new(&enrich::enriched(document)))
    });
    DOCS.clone()
}
