//! The one middleware around every request: request id, trace, compression, CORS, and at the end the log line and the metrics.
//! It is a single layer because every request passes it.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage, HttpResponse, ResponseError,
    body::{BodySize, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, StatusCode, Uri, Version,
        header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    web::{Bytes, Data},
};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    api::edge::{
        access_policy::AccessPolicy,
        compression::{self, MaybeCompressed},
        cors,
        error::{ApiError, ErrorCode},
        open_requests::OpenRequest,
        request_body::{self, Arrived},
        request_id::{REQUEST_ID, RequestId},
        server_span,
        state::AppState,
    },
    record::metrics,
    telemetry::RequestScope,
};

/// `error.type` of a response that its caller did not wait for.
const CLIENT_LEFT: &str = "client_left";

/// Removes the path below which an ingress serves the gateway, where it has left that to us.
fn remove_base_path(request: &mut ServiceRequest, base_path: &str) {
    let rest = match request.path().strip_prefix(base_path) {
        _ if base_path.is_empty() => return,
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => return,
    };
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let Ok(path_and_query) = format!("{rest}{query}").parse() else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}

/// Wraps the app: `App::new().wrap_fn(middleware::wrap_request)`.
pub(crate) fn wrap_request<S, B>(
    mut request: ServiceRequest,
    inner: &S,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<TrackedBody<MaybeCompressed<B>>>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let id = RequestId::from_headers(request.headers());
    request.extensions_mut().insert(id.clone());
    let state = request.app_data::<Data<AppState>>().cloned();
    let policy = state.as_ref().map(|state| state.policy.load_full());
    if let Some(policy) = &policy {
        remove_base_path(&mut request, &policy.base_path);
    }
    let allowed_origin = policy.as_ref().and_then(|policy| policy.origins.allowed_origin(request.headers()));
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_preflight = cors::is_preflight(request.method(), request.headers());
    let scope = if is_preflight || is_probe(request.path()) {
        RequestScope::untraced(id.0.clone())
    } else {
        RequestScope::new(id.0.clone(), header)
    };

    // A preflight is answered before authentication because browsers send it without a key.
    let refused = refused(&request, policy.as_deref());
    let open = match (&state, &policy) {
        (Some(state), Some(policy)) if !is_preflight && !is_probe(request.path()) => {
            Some(state.open_request(policy.in_flight))
        }
        _ => None,
    };
    let refused = refused.or_else(|| overload(open.as_ref(), policy.as_deref()));
    let is_admin = request.path().starts_with("/admin");
    let (call, preflight) = if is_preflight || refused.is_some() {
        (None, Some(request))
    } else {
        let mut request = request;
        let (payload, arrived) = request_body::guard(request.take_payload(), state.as_ref());
        request.set_payload(payload);
        let open = open.flatten();
        if let Some(open) = &open {
            request.extensions_mut().insert(open.clone());
        }
        let tracker = RequestTracker::new(&request, arrived, open, scope.clone());
        server_span::record_request(scope.span(), &request, &id);
        let _within = scope.enter();
        (Some((inner.call(request), tracker)), None)
    };
    let work = async move {
        let mut response = match (call, preflight) {
            (Some((call, mut tracker)), _) => {
                let mut response = compression::compress(call.await?);
                tracker.response_started(&response);
                let is_stream = response.response().body().size() == BodySize::Stream;
                if is_stream && response.request().version() < Version::HTTP_11 {
                    // HTTP/1.0 has no chunks: the end of the connection is the end of the body.
                    let head = response.response_mut().head_mut();
                    head.no_chunking(true);
                    head.set_connection_type(ConnectionType::Close);
                }
                // A stream may never end, and the response to HEAD has no body that could.
                let is_omitted = is_stream && tracker.method == Method::HEAD;
                response.map_body(|_, body| {
                    EitherBody::left(TrackedBody { body: Some(body).filter(|_| !is_omitted), tracker })
                })
            }
            (None, preflight) => {
                let request = preflight.ok_or(ApiError::Internal)?;
                let mut response = match &refused {
                    Some(error) => error.error_response(),
                    None => HttpResponse::NoContent().finish(),
                };
                if allowed_origin.is_some() && refused.is_none() {
                    cors::allow_preflight(request.headers(), response.headers_mut());
                }
                request.into_response(response).map_into_right_body()
            }
        };
        if state.is_some_and(|state| state.is_draining()) {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.to_header());
        if is_admin {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        if let Some(policy) = policy {
            policy.origins.insert_headers(allowed_origin.as_ref(), headers);
        }
        Ok(response)
    };
    scope.instrument(work)
}

/// Why a request is not even routed.
fn refused(request: &ServiceRequest, policy: Option<&AccessPolicy>) -> Option<ApiError> {
    let path = request.uri().path();
    if is_disguised(path) {
        let (method, path) = (server_span::truncated(request.method().as_str()), server_span::truncated(path));
        return Some(ApiError::NotFound(format!("There is no `{method} {path}`.")));
    }
    let is_served = policy.is_none_or(|policy| policy.allows_host(request.headers()) || is_probe(path));
    (!is_served).then_some(ApiError::HostNotAllowed)
}

fn overload<R>(open: Option<&Option<R>>, policy: Option<&AccessPolicy>) -> Option<ApiError> {
    let is_full = matches!(open, Some(None));
    is_full.then(|| {
        let max = policy.map_or(0, |policy| policy.in_flight);
        let message = format!("This replica has as many requests as it takes at a time: {max} in all. Try again.");
        ApiError::Overloaded { message }
    })
}

/// A path that proxies guard by its prefix, written so that they would not see it: `/%61dmin/v1/config`.
fn is_disguised(path: &str) -> bool {
    const GUARDED: [&str; 4] = ["/admin", "/metrics", "/readyz", "/healthz"];
    if !path.contains('%') {
        return false;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    GUARDED.iter().any(|guarded| decoded.starts_with(guarded) && !path.starts_with(guarded))
}

/// Paths of probes and page loads. They are requested frequently and therefore neither logged nor traced.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics") || path.starts_with("/dashboard/assets/")
}

/// The route pattern of a chat path. It is known without matching, which saves time on the hot path.
fn chat_route(path: &str) -> Option<&'static str> {
    ["/v1/chat/completions", "/api/v1/chat/completions"].into_iter().find(|pattern| *pattern == path)
}

/// Records the end of a request when it is dropped: after the last byte, or when the caller left.
struct RequestTracker {
    /// The drain waits until it is dropped.
    _arrived: Arrived,
    _open: Option<Arc<OpenRequest>>,
    active: metrics::Active,
    scope: RequestScope,
    started: Instant,
    method: Method,
    path: String,
    /// The route pattern that the path matched.
    route: Option<Cow<'static, str>>,
    /// `None` until the response has started.
    status: Option<StatusCode>,
    /// `x-tollfree-attempts` as it was when the headers were sent.
    attempts: Option<HeaderValue>,
    code: Option<ErrorCode>,
    /// The connection has taken the whole response.
    complete: bool,
}

impl RequestTracker {
    fn new(request: &ServiceRequest, arrived: Arrived, open: Option<Arc<OpenRequest>>, scope: RequestScope) -> Self {
        Self {
            _arrived: arrived,
            _open: open,
            active: metrics::Active::enter(request.method().as_str()),
            scope,
            started: Instant::now(),
            method: request.method().clone(),
            path: server_span::truncated(request.path()),
            route: chat_route(request.path()).map(Cow::Borrowed),
            status: None,
            attempts: None,
            code: None,
            complete: false,
        }
    }

    fn response_started<B: MessageBody>(&mut self, served: &ServiceResponse<B>) {
        let response = served.response();
        if self.route.is_none() {
            self.route = served.request().match_pattern().map(Cow::Owned);
        }
        self.status = Some(response.status());
        self.attempts = response.headers().get("x-tollfree-attempts").cloned();
        self.code = response.extensions().get::<ErrorCode>().cloned();
        let is_empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        self.complete = is_empty || self.method == Method::HEAD;
    }
}

impl Drop for RequestTracker {
    fn drop(&mut self) {
        let method = server_span::truncated(self.method.as_str());
        let Self { scope, path, status, attempts, code: error, complete, .. } = self;
        let _within = scope.enter();
        let took = self.started.elapsed();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let code = status.map(|s| s.as_u16());
        let attempts = attempts.as_ref().and_then(|value| value.to_str().ok());
        let error = error.as_ref().map(|code| code.0.as_str());
        // A 4xx is not a failure of the server.
        let failure = match code {
            Some(500..) => error.map_or_else(|| code.map(|code| code.to_string()), |error| Some(error.to_owned())),
            Some(_) if *complete || error.is_some() => None,
            _ => Some(CLIENT_LEFT.to_owned()),
        };
        server_span::record_response(
            scope.span(),
            self.active.method(),
            self.route.as_deref(),
            code,
            failure.as_deref(),
        );
        self.active.ended(self.route.take(), code, failure, took);
        let ended = match (code, error) {
            (Some(code), Some(error)) => format!("{code} {error}"),
            (Some(code), None) if *complete => code.to_string(),
            (Some(code), None) => format!("{code}, then the caller left"),
            (None, _) => "the caller left".to_owned(),
        };
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    http.request.method = %method,
                    url.path = %path,
                    http.response.status_code = code,
                    error.type = error,
                    tollfree.attempts = attempts,
                    duration_ms,
                    "{method} {path}: {ended} after {duration_ms} ms"
                )
            };
        }
        if is_probe(path) { log!(debug) } else { log!(info) }
    }
}

pin_project! {
    /// A response body that is polled within its request's span and whose end is recorded.
    pub struct TrackedBody<B> {
        #[pin]
        body: Option<B>,
        tracker: RequestTracker,
    }

    impl<B> PinnedDrop for TrackedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // Dropping the body may settle a lease or cancel a call, which belongs to the request's span.
            let mut this = this.project();
            let scope = this.tracker.scope.clone();
            let _within = scope.enter();
            this.body.set(None);
        }
    }
}

impl<B: MessageBody> MessageBody for TrackedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.as_ref().map_or(BodySize::None, MessageBody::size)
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let polled = {
            let _within = this.tracker.scope.enter();
            match this.body.as_pin_mut() {
                Some(body) => body.poll_next(context),
                None => Poll::Ready(None),
            }
        };
        if let Poll::Ready(None) = polled {
            this.tracker.complete = true;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderMap, test::TestRequest};

    use super::*;
    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, Settings},
    };

    const PAGE: &str = "https://page.example";

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[actix_web::test]
    async fn every_response_has_a_request_id_including_errors() {
        let app = app(Settings::default()).await;
        for path in ["/healthz", "/v1/models", "/nowhere"] {
            let (_, headers, _) =
                call(&app, TestRequest::get().uri(path).insert_header(("x-request-id", "mine"))).await;
            assert_eq!(text(&headers, "x-request-id"), Some("mine"), "{path}");
            let (_, headers, _) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!(text(&headers, "x-request-id").unwrap().len(), 36, "{path}");
        }
    }

    #[actix_web::test]
    async fn an_open_gateway_on_loopback_serves_no_foreign_host_but_its_probes() {
        let app = app(Settings::default()).await;
        for (path, host, status) in [
            ("/v1/models", "evil.example:3000", 403),
            ("/metrics", "10.0.0.7:3000", 200),
            ("/healthz", "gateway.pod", 200),
            ("/v1/models", "localhost:3000", 200),
        ] {
            let (seen, _, body) = call(&app, TestRequest::get().uri(path).insert_header(("host", host))).await;
            assert_eq!(seen, status, "{path} {host}: {body}");
        }
        let closed = crate::api::test_support::app(closed_to_all_but(PAGE)).await;
        let elsewhere = TestRequest::get().uri("/v1/models").insert_header(("host", "gate.example"));
        assert_eq!(call(&closed, elsewhere).await.0, 401, "a gateway with keys has any name");
    }

    #[actix_web::test]
    async fn guarded_paths_have_one_spelling_and_admin_responses_are_not_stored() {
        let app = app(Settings::default()).await;
        for path in ["/%61dmin/v1/config", "/%6detrics", "/%72eadyz", "/admi%6e/v1/config"] {
            let (status, _, body) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()), "{path}");
        }
        for path in ["/admin/v1/config", "/admin/v1/session", "/admin/nothing"] {
            let (_, headers, _) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!(text(&headers, "cache-control"), Some("no-store"), "{path}");
            assert_eq!(text(&headers, "x-content-type-options"), Some("nosniff"), "{path}");
        }
    }

    #[actix_web::test]
    async fn what_is_logged_of_a_request_is_bounded() {
        let method = Method::from_bytes("M".repeat(1_000).as_bytes()).unwrap();
        let request = TestRequest::default().method(method).uri(&format!("/{}", "p".repeat(50_000))).to_srv_request();
        let scope = RequestScope::untraced("id".into());
        let tracker = RequestTracker::new(&request, Arrived::default(), None, scope);
        assert_eq!((tracker.path.len(), server_span::truncated(tracker.method.as_str()).len()), (256, 256));
    }

    #[actix_web::test]
    async fn beyond_its_limit_a_replica_refuses_at_once_and_stays_alive() {
        let mut settings = Settings::default();
        settings.limits.in_flight = 0;
        let app = app(settings).await;
        let (status, headers, body) = call(&app, TestRequest::get().uri("/v1/models")).await;
        assert_eq!((status, &body["error"]["code"]), (503, &"overloaded".into()));
        assert_eq!(text(&headers, "retry-after"), Some("1"));
        assert_eq!(call(&app, TestRequest::get().uri("/healthz")).await.0, 200);
    }

    fn closed_to_all_but(origin: &str) -> Settings {
        let mut settings = Settings::default();
        settings.auth.mode = Some(AuthMode::Required);
        settings.http.allowed_origins = vec![origin.parse().unwrap()];
        settings
    }

    #[actix_web::test]
    async fn a_preflight_needs_no_key_and_only_listed_origins_are_allowed() {
        let app = app(closed_to_all_but(PAGE)).await;
        let preflight = |origin| {
            TestRequest::default()
                .method(Method::OPTIONS)
                .uri("/v1/chat/completions")
                .insert_header(("origin", origin))
                .insert_header(("access-control-request-method", "POST"))
                .insert_header(("access-control-request-headers", "authorization, x-stainless-os"))
        };
        let (status, headers, _) = call(&app, preflight(PAGE)).await;
        assert_eq!((status, text(&headers, "access-control-allow-origin")), (204, Some(PAGE)));
        assert_eq!(text(&headers, "access-control-allow-headers"), Some("authorization, x-stainless-os"));
        let (_, headers, _) = call(&app, preflight("https://other.example")).await;
        assert_eq!(text(&headers, "access-control-allow-origin"), None);
        assert_eq!(text(&headers, "access-control-allow-headers"), None);
        assert_eq!(text(&headers, "vary"), Some("Origin"));
    }

    #[actix_web::test]
    async fn pages_may_read_errors_and_all_headers_of_our_own() {
        let app = app(closed_to_all_but("*")).await;
        let (status, headers, _) =
            call(&app, TestRequest::get().uri("/v1/models").insert_header(("origin", PAGE))).await;
        assert_eq!((status, text(&headers, "access-control-allow-origin")), (401, Some("*")));
        let exposed = text(&headers, "access-control-expose-headers").unwrap();
        for name in ["x-request-id", "x-tollfree-attempts", "retry-after-ms", "x-ratelimit-reset-requests"] {
            assert!(exposed.split(", ").any(|e| e == name), "{name} in {exposed}");
        }
    }
}
