//! What surrounds every request: its id, its trace, CORS, and at the end one log line and what it counts for. One layer,
//! because it is on every path.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BodySize, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
    http::{ConnectionType, Method, StatusCode, header::HeaderValue},
    web::{Bytes, Data},
};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    api::{
        edge::{
            cors,
            error::{ApiError, ErrorCode},
            request_id::{REQUEST_ID, RequestId},
            server_span,
            state::{Edge, InFlight},
        },
        routes,
    },
    record::metrics,
    telemetry::RequestScope,
};

/// `error.type` of an answer that its caller did not wait for.
const LEFT: &str = "client_left";

/// Wraps the whole app: `App::new().wrap_fn(around::around)`.
pub fn around<S, B>(
    request: ServiceRequest,
    inner: &S,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<Watched<B>>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let edge = request.app_data::<Data<Edge>>().cloned();
    let door = edge.as_ref().map(|edge| edge.door.load_full());
    let grant = door.as_ref().and_then(|door| door.origins.grant(request.headers()));
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_preflight = cors::is_preflight(request.method(), request.headers());
    let scope = if is_preflight || routes::is_probe(request.path()) {
        RequestScope::untraced(id.0.clone())
    } else {
        RequestScope::new(id.0.clone(), header)
    };

    // A preflight is answered here: it carries no key, and any of our URLs may be asked about.
    let (call, preflight) = if is_preflight {
        (None, Some(request))
    } else {
        let end = End::of(&request, edge.as_ref(), scope.clone());
        server_span::begin(scope.span(), &request, &id);
        let _within = scope.enter();
        (Some((inner.call(request), end)), None)
    };
    let work = async move {
        let mut response = match (call, preflight) {
            (Some((call, mut end)), _) => {
                let response = call.await?;
                end.saw(&response);
                response.map_body(|_, body| EitherBody::left(Watched { body: Some(body), end }))
            }
            (None, preflight) => {
                let request = preflight.ok_or(ApiError::Internal)?;
                let mut answer = HttpResponse::NoContent().finish();
                if grant.is_some() {
                    cors::answer_preflight(request.headers(), answer.headers_mut());
                }
                request.into_response(answer).map_into_right_body()
            }
        };
        if edge.is_some_and(|edge| edge.draining()) {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.to_header());
        if let Some(door) = door {
            door.origins.mark(grant.as_ref(), headers);
        }
        Ok(response)
    };
    scope.instrument(work)
}

/// Dropped when the last byte is gone or the caller left: counts the request out and says how it went.
struct End {
    /// Held until then; the drain waits for it.
    _in_flight: Option<InFlight>,
    active: metrics::Active,
    scope: RequestScope,
    started: Instant,
    method: Method,
    path: String,
    /// The pattern that the path matched.
    route: Option<Cow<'static, str>>,
    /// `None` until there is an answer.
    status: Option<StatusCode>,
    /// `x-tollfree-attempts`, as far as it was known when the head was sent.
    attempts: Option<HeaderValue>,
    code: Option<ErrorCode>,
    /// The whole answer was taken over by the connection.
    complete: bool,
}

impl End {
    fn of(request: &ServiceRequest, edge: Option<&Data<Edge>>, scope: RequestScope) -> Self {
        Self {
            _in_flight: edge.map(|edge| edge.enter()),
            active: metrics::Active::enter(request.method().as_str()),
            scope,
            started: Instant::now(),
            method: request.method().clone(),
            path: request.path().to_owned(),
            route: routes::is_chat(request.path()).map(Cow::Borrowed),
            status: None,
            attempts: None,
            code: None,
            complete: false,
        }
    }

    /// The head of the answer is there.
    fn saw<B: MessageBody>(&mut self, served: &ServiceResponse<B>) {
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

impl Drop for End {
    fn drop(&mut self) {
        let Self { scope, method, path, status, attempts, code: error, complete, .. } = self;
        let _within = scope.enter();
        let took = self.started.elapsed();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let code = status.map(|s| s.as_u16());
        let attempts = attempts.as_ref().and_then(|value| value.to_str().ok());
        let error = error.as_ref().map(|code| code.0.as_str());
        // A 4xx is its caller's error, and no failure of the server.
        let failure = match code {
            Some(500..) => error.map_or_else(|| code.map(|code| code.to_string()), |error| Some(error.to_owned())),
            Some(_) if *complete || error.is_some() => None,
            _ => Some(LEFT.to_owned()),
        };
        server_span::end(scope.span(), self.active.method(), self.route.as_deref(), code, failure.as_deref());
        self.active.ended(self.route.take(), code, failure, took);
        let ended = match (code, error) {
            (Some(code), Some(error)) => format!("{code} {error}"),
            (Some(code), None) if *complete => code.to_string(),
            (Some(code), None) => format!("{code}, then the caller left"),
            (None, _) => "the caller left".to_owned(),
        };
        macro_rules! line {
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
        if routes::is_probe(path) { line!(debug) } else { line!(info) }
    }
}

pin_project! {
    /// An answer's body, within its request's span, with the end of it noticed.
    pub struct Watched<B> {
        #[pin]
        body: Option<B>,
        end: End,
    }

    impl<B> PinnedDrop for Watched<B> {
        fn drop(this: Pin<&mut Self>) {
            // What its end tells (a lease that is settled, a call that is cut) is told within the request.
            let mut this = this.project();
            let scope = this.end.scope.clone();
            let _within = scope.enter();
            this.body.set(None);
        }
    }
}

impl<B: MessageBody> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.as_ref().map_or(BodySize::None, MessageBody::size)
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let polled = {
            let _within = this.end.scope.enter();
            match this.body.as_pin_mut() {
                Some(body) => body.poll_next(context),
                None => Poll::Ready(None),
            }
        };
        if let Poll::Ready(None) = polled {
            this.end.complete = true;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        http::{Method, header::HeaderMap},
        test::TestRequest,
    };

    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, Settings},
    };

    const PAGE: &str = "https://page.example";

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[actix_web::test]
    async fn every_answer_has_an_id_errors_too() {
        let app = app(Settings::default()).await;
        for path in ["/healthz", "/v1/models", "/nowhere"] {
            let (_, headers, _) =
                call(&app, TestRequest::get().uri(path).insert_header(("x-request-id", "mine"))).await;
            assert_eq!(text(&headers, "x-request-id"), Some("mine"), "{path}");
            let (_, headers, _) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!(text(&headers, "x-request-id").unwrap().len(), 36, "{path}");
        }
    }

    fn closed_to_all_but(origin: &str) -> Settings {
        let mut settings = Settings::default();
        settings.auth.mode = Some(AuthMode::Required);
        settings.http.allowed_origins = vec![origin.parse().unwrap()];
        settings
    }

    #[actix_web::test]
    async fn a_preflight_needs_no_key_and_only_a_listed_page_is_let_in() {
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
    async fn a_page_may_read_errors_and_every_header_of_ours() {
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
