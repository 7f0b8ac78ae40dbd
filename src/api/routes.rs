//! Every URL of the gateway.

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, Resource, Route, guard,
    http::Method as M,
    web::{self, JsonConfig, ServiceConfig, delete, head, patch, post, scope},
};

use crate::{
    api::{
        admin, dashboard, docs,
        edge::{auth::MAX_ADMIN_BODY, error::ApiError, request_id::RequestId, server_span},
        openapi, setup, v1,
    },
    protocol::Protocol,
};

pub(crate) fn configure(app: &mut ServiceConfig) {
    let json = JsonConfig::default().limit(MAX_ADMIN_BODY).error_handler(|error, _| ApiError::from(&error).into());
    app.app_data(json).app_data(openapi::api_docs());
    // Claude Code looks for these two when it starts.
    app.service(at("/", [(M::HEAD, head().to(v1::health::hello)), (M::GET, get().to(dashboard::redirect))]).resource());
    app.service(at("/api/hello", [(M::GET, get().to(v1::health::hello))]).resource());
    for (root, urls) in roots() {
        app.service(urls.0.into_iter().map(Url::resource).fold(scope(root), actix_web::Scope::service));
    }
    app.default_service(web::to(not_found));
}

/// Every URL by its scope. The scope without a name comes last because it matches every path.
fn roots() -> [(&'static str, Urls); 4] {
    [("/v1", Urls::new(v1)), ("/api/v1", Urls::new(v1)), ("/admin/v1", Urls::new(admin_v1)), ("", Urls::new(unscoped))]
}

fn unscoped(app: &mut Urls) {
    app.service(at("/healthz", [(M::GET, get().to(v1::health::alive)), (M::HEAD, head().to(v1::health::alive))]))
        .service(at("/readyz", [(M::GET, get().to(v1::health::ready)), (M::HEAD, head().to(v1::health::ready))]))
        .service(at("/metrics", [(M::GET, get().to(v1::metrics::show))]))
        .service(at("/dashboard", [(M::GET, get().to(dashboard::page)), (M::HEAD, head().to(dashboard::page))]))
        .service(at(
            "/dashboard/{path:.*}",
            [(M::GET, get().to(dashboard::page)), (M::HEAD, head().to(dashboard::page))],
        ))
        .service(at("/openapi.json", [(M::GET, get().to(docs::json))]))
        .service(at("/docs", [(M::GET, get().to(docs::page))]))
        .service(at("/setup", [(M::GET, get().to(setup::show_page))]))
        .service(at("/setup/{script}", [(M::GET, get().to(setup::show_script))]))
        .service(at("/setup/{tool}/files", [(M::POST, post().to(setup::make_files))]));
}

/// Also serves HEAD, whose response is that of GET without its body.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn v1(app: &mut Urls) {
    app.service(at("/chat/completions", [(M::POST, post().to(v1::chat::create))]))
        .service(at("/audio/transcriptions", [(M::POST, post().to(v1::transcriptions::create))]))
        .service(at("/audio/translations", [(M::POST, post().to(v1::transcriptions::translate))]))
        .service(at("/rerank", [(M::POST, post().to(v1::rerank::create))]))
        .service(at("/moderations", [(M::POST, post().to(v1::moderations::create))]))
        .service(at("/completions", [(M::POST, post().to(v1::completions::create))]))
        .service(at("/fim/completions", [(M::POST, post().to(v1::completions::create_fim))]))
        .service(at("/embeddings", [(M::POST, post().to(v1::embeddings::create))]))
        .service(at("/responses", [(M::POST, post().to(v1::responses::create))]))
        .service(at("/responses/input_tokens", [(M::POST, post().to(v1::responses::count_tokens))]))
        .service(at("/responses/compact", [(M::POST, post().to(v1::responses::compact))]))
        .service(at(
            "/responses/{id}",
            [(M::GET, get().to(v1::responses::stored::show)), (M::DELETE, delete().to(v1::responses::stored::delete))],
        ))
        .service(at("/responses/{id}/input_items", [(M::GET, get().to(v1::responses::stored::list_items))]))
        .service(at("/responses/{id}/cancel", [(M::POST, post().to(v1::responses::stored::cancel))]))
        .service(at("/messages", [(M::POST, post().to(v1::messages::create))]))
        .service(at("/messages/count_tokens", [(M::POST, post().to(v1::messages::count_tokens))]))
        .service(at("/models", [(M::GET, get().to(v1::models::list))]))
        .service(at("/models/{id:.+}", [(M::GET, get().to(v1::models::show))])) // ids contain slashes
        .service(at("/usage", [(M::GET, get().to(v1::usage::show_own))]))
        .service(at("/stream-test", [(M::GET, get().to(v1::stream_test::stream_events))]))
        .service(at("/status", [(M::GET, get().to(v1::status::show))]))
        .service(at("/status/routing", [(M::PATCH, patch().to(admin::controls::set_strategy))]))
        .service(at("/status/providers/{id}", [(M::PATCH, patch().to(admin::controls::switch_provider))]))
        .service(at("/status/providers/{id}/reset", [(M::POST, post().to(admin::controls::reset_provider))]))
        .service(at("/status/models/{id:.+}", [(M::PATCH, patch().to(admin::controls::switch_model))]));
}

fn admin_v1(app: &mut Urls) {
    app.service(at("/requests", [(M::GET, get().to(admin::requests::list))]))
        .service(at("/usage", [(M::GET, get().to(admin::usage::show))]))
        .service(at("/budget", [(M::GET, get().to(admin::budget::show))]))
        .service(at("/budget/forget", [(M::POST, post().to(admin::budget::forget))]))
        .service(at("/events", [(M::GET, get().to(admin::events::stream_events))]))
        .service(at("/models", [(M::GET, get().to(admin::models::list))]));
    let provider_key =
        [(M::PATCH, patch().to(admin::provider_keys::change)), (M::DELETE, delete().to(admin::provider_keys::delete))];
    app.service(at("/providers", [(M::GET, get().to(admin::provider_keys::list_providers))]))
        .service(at("/providers/refresh", [(M::POST, post().to(admin::provider_keys::refresh))]))
        .service(at("/providers/{id}", [(M::PATCH, patch().to(admin::provider_keys::switch))]))
        .service(at(
            "/provider-keys",
            [(M::GET, get().to(admin::provider_keys::list)), (M::POST, post().to(admin::provider_keys::add))],
        ))
        .service(at("/provider-keys/{id}", provider_key))
        .service(at("/provider-keys/{id}/test", [(M::POST, post().to(admin::provider_keys::test))]));
    let session = [
        (M::GET, get().to(admin::session::show)),
        (M::POST, post().to(admin::session::create)),
        (M::DELETE, delete().to(admin::session::delete)),
    ];
    let client = [
        (M::GET, get().to(admin::clients::show)),
        (M::PATCH, patch().to(admin::clients::change)),
        (M::DELETE, delete().to(admin::clients::delete)),
    ];
    app.service(at("/session", session))
        .service(at(
            "/clients",
            [(M::GET, get().to(admin::clients::list)), (M::POST, post().to(admin::clients::create))],
        ))
        .service(at("/clients/{id}", client))
        .service(at("/clients/{id}/rotate", [(M::POST, post().to(admin::clients::rotate))]))
        .service(at("/clients/{id}/revoke", [(M::POST, post().to(admin::clients::revoke))]))
        .service(at("/audit", [(M::GET, get().to(admin::audit::list))]))
        .service(at("/config", [(M::GET, get().to(admin::config::show))]));
}

/// The URLs of one scope. Both the app and the test of the OpenAPI document use this list.
#[derive(Default)]
struct Urls(Vec<Url>);

impl Urls {
    fn new(configure: impl FnOnce(&mut Self)) -> Self {
        let mut urls = Self::default();
        configure(&mut urls);
        urls
    }

    fn service(&mut self, url: Url) -> &mut Self {
        self.0.push(url);
        self
    }
}

struct Url {
    path: &'static str,
    methods: Vec<(M, Route)>,
}

fn at<const N: usize>(path: &'static str, methods: [(M, Route); N]) -> Url {
    Url { path, methods: methods.into() }
}

impl Url {
    /// Other methods are answered with 405 and the list of supported ones.
    fn resource(self) -> Resource {
        let mut allow: Vec<M> = self.methods.iter().map(|(method, _)| method.clone()).collect();
        if let Some(at) = allow.iter().position(|method| *method == M::GET)
            && !allow.contains(&M::HEAD)
        {
            allow.insert(at + 1, M::HEAD);
        }
        let allow = allow.iter().map(M::as_str).collect::<Vec<_>>().join(", ");
        let resource = self.methods.into_iter().fold(web::resource(self.path), |all, (_, route)| all.route(route));
        resource.default_service(web::to(move |request: HttpRequest| {
            let allow = allow.clone();
            let (method, path) = (request.method().to_string(), request.path().to_owned());
            let error = ApiError::MethodNotAllowed { method, path, allow };
            async move { refused(&request, &error) }
        }))
    }
}

/// Every method and path as in `openapi.json`: `("GET", "/v1/models/{id}")`, without the views of the dashboard.
pub fn served() -> Vec<(String, String)> {
    let path = |root: &str, url: &Url| format!("{root}{}", url.path).replace(":.+}", "}");
    let urls = roots().into_iter().flat_map(|(root, urls)| urls.0.into_iter().map(move |url| (path(root, &url), url)));
    let urls = urls.filter(|(_, url)| !url.path.ends_with(":.*}"));
    urls.flat_map(|(path, url)| url.methods.into_iter().map(move |(m, _)| (m.to_string(), path.clone()))).collect()
}

/// First segments below `/v1` of endpoints that other servers of this API have.
const OTHER_ENDPOINTS: [&str; 16] = [
    "assistants",
    "audio",
    "batches",
    "containers",
    "conversations",
    "evals",
    "files",
    "fine_tuning",
    "images",
    "messages",
    "organization",
    "realtime",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// An error in the form of the protocol to which the path belongs.
fn refused(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    let path = request.path();
    let below = path.strip_prefix("/api").unwrap_or(path);
    let protocol = if below.starts_with("/v1/messages") { Protocol::Messages } else { Protocol::Chat };
    let id = request.extensions().get::<RequestId>().map_or_else(|| "-".into(), |id| id.0.clone());
    v1::refusal::refuse(protocol, error, &id)
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let method = server_span::truncated(request.method().as_str());
    let path = &*server_span::truncated(request.path());
    let below = path.strip_prefix("/api").unwrap_or(path).strip_prefix("/v1/").unwrap_or_default();
    let message = if OTHER_ENDPOINTS.iter().any(|other| below.split('/').next() == Some(other)) {
        format!(
            "This gateway has no `{path}`: that endpoint of the API is not built. It serves `POST /v1/chat/completions`, \
             `POST /v1/embeddings` and `GET /v1/models`."
        )
    } else if path.ends_with("/chat/completions") {
        format!(
            "There is no `{method} {path}`. The chat endpoint is `POST /v1/chat/completions`: the base URL that a client \
             is given ends in one `/v1`."
        )
    } else {
        format!("There is no `{method} {path}`. The chat endpoint is `POST /v1/chat/completions`.")
    };
    refused(&request, &ApiError::NotFound(message))
}

#[cfg(test)]
mod tests {
    use actix_web::{http::Method, test::TestRequest};

    use crate::{
        api::test_support::{app, call},
        config::Settings,
    };

    #[actix_web::test]
    async fn an_unknown_url_is_404_and_an_unsupported_method_405_with_the_supported_ones() {
        let app = app(Settings::default()).await;
        for path in ["/v2/models", "/v1", "/v1/", "/v1/chat", "/v1/models/", "/v1/status/providers"] {
            let (status, _, body) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()), "{path}");
        }
        for (path, allow) in [
            ("/", "HEAD, GET"),
            ("/v1/models", "GET, HEAD"),
            ("/api/v1/status/routing", "PATCH"),
            ("/healthz", "GET, HEAD"),
            ("/admin/v1/clients", "GET, HEAD, POST"),
        ] {
            let (status, headers, body) = call(&app, TestRequest::delete().uri(path)).await;
            assert_eq!((status, &body["error"]["code"]), (405, &"method_not_allowed".into()), "{path}");
            assert_eq!(headers.get("allow").unwrap(), allow, "{path}");
        }
    }

    #[actix_web::test]
    async fn an_endpoint_that_is_not_built_says_so() {
        let app = app(Settings::default()).await;
        for path in ["/v1/batches", "/api/v1/images", "/v1/audio/speech", "/v1/files/file-1/content"] {
            let (status, _, body) = call(&app, TestRequest::post().uri(path)).await;
            let message = body["error"]["message"].as_str().unwrap();
            assert_eq!((status, message.contains("is not built")), (404, true), "{path}: {message}");
        }
        for (method, path, status) in [(Method::POST, "/v1/messages/batches", 404), (Method::GET, "/v1/messages", 405)]
        {
            let (actual, _, body) = call(&app, TestRequest::default().method(method).uri(path)).await;
            assert_eq!((actual, &body["type"]), (status, &"error".into()), "{path}: {body}");
        }
        for path in ["/chat/completions", "/v1/v1/chat/completions"] {
            let (status, _, body) = call(&app, TestRequest::post().uri(path)).await;
            let message = body["error"]["message"].as_str().unwrap();
            assert_eq!((status, message.contains("base URL")), (404, true), "{path}: {message}");
        }
    }

    #[actix_web::test]
    async fn the_root_leads_to_the_dashboard_and_answers_probes_at_once() {
        let app = app(Settings::default()).await;
        let (status, headers, _) = call(&app, TestRequest::get().uri("/")).await;
        assert_eq!((status, headers.get("location").unwrap().to_str().unwrap()), (302, "/dashboard"));
        for path in ["/", "/api/hello"] {
            let probe = TestRequest::default().method(Method::HEAD).uri(path);
            assert_eq!(call(&app, probe).await.0, 200, "{path}");
        }
    }

    #[actix_web::test]
    async fn both_roots_serve_the_same_paths() {
        let app = app(Settings::default()).await;
        for root in ["/v1", "/api/v1"] {
            assert_eq!(call(&app, TestRequest::get().uri(&format!("{root}/models"))).await.0, 200);
            let (status, _, body) = call(&app, TestRequest::get().uri(&format!("{root}/models/a/b/c"))).await;
            assert_eq!((status, &body["error"]["code"]), (404, &"model_not_found".into()));
        }
    }

    #[actix_web::test]
    async fn bad_json_from_an_admin_gets_the_usual_error_body() {
        let settings = Settings { admin_key: Some("admin-key".into()), ..Settings::default() };
        let app = app(settings).await;
        let change = |body: &'static str| {
            TestRequest::patch()
                .uri("/v1/status/routing")
                .insert_header(("authorization", "Bearer admin-key"))
                .insert_header(("content-type", "application/json"))
                .set_payload(body)
        };
        for (body, code) in [("{", "invalid_json"), ("{}", "invalid_value"), (r#"{"strategy":"up"}"#, "invalid_value")]
        {
            let (status, _, response) = call(&app, change(body)).await;
            assert_eq!((status, &response["error"]["code"]), (400, &code.into()), "{body}");
        }
    }
}
