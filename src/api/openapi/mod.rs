//! `/openapi.json`: what we serve, from the handlers' own annotations and types. `/docs` shows the same to people.
//!
//! A new handler takes three lines here and there, and `tests/it/gateway/openapi.rs` fails until all of them are written:
//! 1. its URL in `routes.rs`;
//! 2. its name in [`Handlers`] below;
//! 3. `#[utoipa::path(method, path, tag, operation_id, security, responses)]` above it and `ToSchema` on its types. The
//!    first line of its doc comment is the summary, the rest the description. `security(("client_key" = []))` or
//!    `("admin_key" = [])`; none: public. An error is its status and its codes,
//!    `(status = 404, description = "not_found")`: [`fill`] makes the whole answer of it, and adds by itself the errors
//!    that every such handler has (key, body, query, ledger), all headers and the alias `/api/v1`. A new code has its
//!    example in `errors.rs`. Examples stand in the annotation, or long ones in a file of `shapes/` by `operation_id`, where
//!    the schemas of what inner rooms own stand too.
//!
//! Names of schemas are those of the types: where two rooms have a `List`, say `#[schema(as = ClientList)]`.

mod errors;
mod fill;

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    },
    web::Bytes,
};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use utoipa::OpenApi;

use crate::api::{admin, dashboard, docs, edge::error, v1};

/// Every handler, in the order of `routes.rs`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollfree",
        description = "One OpenAI-compatible URL over every free LLM tier, on one exact budget.\n\n\
            Everything under `/v1` is served under `/api/v1` too. Every error is the one envelope \
            `{\"error\":{\"message\",\"type\",\"param\",\"code\"}}`. Sleeping as long as `retry-after-ms` says works.",
    ),
    paths(
        v1::chat::create,
        v1::models::list,
        v1::models::show,
        v1::usage::of_caller,
        v1::status::show,
        admin::controls::set_order,
        admin::controls::switch_provider,
        admin::controls::reset,
        admin::controls::switch_model,
        admin::requests::list,
        v1::usage::of_all,
        admin::budget::show,
        admin::events::listen,
        admin::models::list,
        admin::session::show,
        admin::session::open,
        admin::session::end,
        admin::clients::list,
        admin::clients::create,
        admin::clients::show,
        admin::clients::change,
        admin::clients::delete,
        admin::clients::rotate,
        admin::clients::revoke,
        admin::audit::list,
        admin::audit::config,
        v1::health::alive,
        v1::health::ready,
        v1::metrics::show,
        dashboard::page,
        document,
        docs::page,
    ),
    components(schemas(error::Envelope)),
    tags(
        (name = "chat", description = "Asking a model"),
        (name = "models", description = "What can be asked for"),
        (name = "status", description = "How the providers stand, and switches that bind all replicas"),
        (name = "clients", description = "Members' keys, quotas and weights"),
        (name = "usage", description = "Who used what, what is left and when it comes back"),
        (name = "admin", description = "Signing in, what was changed, what is configured"),
        (name = "service", description = "Probes, metrics and pages"),
    ),
)]
struct Handlers;

/// A text that is the same for the life of the process, with the tag by which a cache knows it.
pub struct Kept {
    pub text: Bytes,
    tag: String,
    content_type: &'static str,
}

impl Kept {
    pub fn new(text: String, content_type: &'static str) -> Self {
        let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&text)[..4]));
        Self { text: text.into(), tag, content_type }
    }

    /// Asked for again at each use, and sent only when it is another one: a new version shows at once.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let known = request.headers().get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|tags| {
            tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.tag)
        });
        let mut response = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        response.insert_header((ETAG, self.tag.as_str())).insert_header((CACHE_CONTROL, "no-cache"));
        if known { response.finish() } else { response.content_type(self.content_type).body(self.text.clone()) }
    }
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub async fn document(request: HttpRequest) -> HttpResponse {
    static DOCUMENT: LazyLock<Kept> = LazyLock::new(|| {
        let document = serde_json::to_value(Handlers::openapi()).expect("it is plain data");
        Kept::new(fill::filled(document).to_string(), "application/json")
    });
    DOCUMENT.answer(&request)
}
