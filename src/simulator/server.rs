//! One port: each provider under its name, `/_control` and `/_audit` beside them.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::{Server, ServerHandle},
    web::{self, Bytes, Data, Json, JsonConfig, PayloadConfig},
};
use serde_json::{Value, json};

use super::{
    chat, control,
    dialects::DialectName,
    dialects::ollama,
    dialects::request_checks::RequestError,
    provider::Provider,
    socket,
    state::{Providers, State},
};

/// Larger than the limit of any gateway.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Idle connections are kept as long as by the real providers, since clients reuse them.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(75);

type Shared = Data<Arc<State>>;

/// Path of a provider's API behind the port.
pub(crate) fn path(provider: &Provider) -> String {
    format!("/{}{}", provider.id, provider.dialect.implementation().prefix())
}

/// Binds a server that does not run yet. Returns it with the handle that stops it and its address.
pub(crate) fn bind(
    state: &Arc<State>,
    address: SocketAddr,
    workers: usize,
) -> std::io::Result<(Server, ServerHandle, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let shared = Data::new(Arc::clone(state));
    let providers = state.providers();
    let app = move || {
        let mut app = App::new()
            .app_data(Data::clone(&shared))
            .app_data(PayloadConfig::new(MAX_BODY_BYTES))
            .app_data(
                JsonConfig::default().content_type(|_| true).content_type_required(false).error_handler(unreadable),
            )
            .configure(control::routes);
        for provider in providers.by_id.values() {
            app = app.configure(|config| provider_routes(config, provider));
        }
        app
    };
    let server = HttpServer::new(app)
        .workers(workers.max(1))
        .h1_allow_half_closed(false) // a client that leaves is noticed between two chunks, too
        .keep_alive(KEEP_ALIVE)
        .on_connect(socket::keep)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    Ok((server, handle, address))
}

fn provider_routes(config: &mut web::ServiceConfig, provider: &Provider) {
    let (id, path) = (provider.id.clone(), path(provider));
    let chat_id = id.clone();
    let chat = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), chat_id.clone());
        async move { chat::complete(state, &id, request, body).await }
    };
    let list_id = id.clone();
    let models = move |state: Shared, request: HttpRequest| {
        let response = models(&state, &list_id, &request);
        async move { response }
    };
    let embeddings_id = id.clone();
    let embeddings = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), embeddings_id.clone());
        async move { chat::embed(state, &id, request, body).await }
    };
    let completions_id = id.clone();
    let complete = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), completions_id.clone());
        async move { chat::complete_prompt(state, &id, request, body).await }
    };
    let moderations_id = id.clone();
    let moderate = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), moderations_id.clone());
        async move { chat::moderate(state, &id, request, body).await }
    };
    let transcriptions_id = id.clone();
    let transcribe = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), transcriptions_id.clone());
        async move { chat::transcribe(state, &id, request, body).await }
    };
    let ranking_id = id.clone();
    let rank = move |state: Shared, request: HttpRequest, body: Bytes| {
        let (state, id) = (state.into_inner().as_ref().clone(), ranking_id.clone());
        async move { chat::rank(state, &id, request, body).await }
    };
    let is_cohere = provider.dialect == DialectName::Cohere;
    let ranking = &format!("{path}/rerank");
    let is_mistral = provider.dialect == DialectName::Mistral;
    let completions = &format!("{path}{}", if is_mistral { "/fim/completions" } else { "/completions" });
    config
        .route(&format!("{path}/chat/completions"), web::post().to(chat))
        .route(&format!("{path}/embeddings"), web::post().to(embeddings))
        .route(completions, web::post().to(complete))
        .route(&format!("{path}/moderations"), web::post().to(moderate))
        .route(if is_cohere { "/v2/rerank" } else { ranking }, web::post().to(rank))
        .route(&format!("{path}/audio/transcriptions"), web::post().to(transcribe.clone()))
        .route(&format!("{path}/audio/translations"), web::post().to(transcribe))
        .route(&format!("{path}/models"), web::get().to(models));
    if provider.dialect == DialectName::Ollama {
        config
            .route(&format!("/{id}/api/tags"), web::get().to(tags))
            .route(&format!("/{id}/api/show"), web::post().to(show))
            .route(&format!("/{id}/api/version"), web::get().to(version))
            .route(&format!("/{id}/"), web::get().to(|| async { "Ollama is running" }));
    }
}

fn models(state: &State, id: &str, request: &HttpRequest) -> HttpResponse {
    let providers = state.providers();
    let Some(provider) = providers.by_id.get(id) else { return HttpResponse::NotFound().finish() };
    let dialect = provider.dialect.implementation();
    match chat::account(provider, request) {
        Ok(_) => {
            let created = state.clock.now_us() / 1_000_000;
            HttpResponse::Ok().content_type("application/json").body(dialect.models(provider, created))
        }
        Err(error) => chat::error_response(dialect.request_error(provider, &error)),
    }
}

async fn tags(state: Shared) -> HttpResponse {
    match local(&state.providers()) {
        Some(provider) => HttpResponse::Ok().content_type("application/json").body(ollama::tags(provider)),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn show(state: Shared, body: Json<Value>) -> HttpResponse {
    let providers = state.providers();
    let Some(provider) = local(&providers) else { return HttpResponse::NotFound().finish() };
    let name = body.get("model").or_else(|| body.get("name")).and_then(Value::as_str).unwrap_or_default();
    match provider.model(name) {
        Some(model) => HttpResponse::Ok().content_type("application/json").body(ollama::show(model)),
        None => chat::error_response(
            provider.dialect.implementation().request_error(provider, &RequestError::NoSuchModel(name.to_owned())),
        ),
    }
}

async fn version() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "version": "0.17.4" }))
}

fn local(providers: &Providers) -> Option<&Arc<Provider>> {
    providers.by_id.values().find(|provider| provider.dialect == DialectName::Ollama)
}

fn unreadable(error: actix_web::error::JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let body = json!({ "error": error.to_string() });
    actix_web::error::InternalError::from_response(error, HttpResponse::BadRequest().json(body)).into()
}
