//! `POST /v1/chat/completions`: reads and checks the request, then passes it to the flow.

use std::{future::Future, pin::Pin, time::Duration};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError,
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    web::{Bytes, BytesMut, Data},
};
use futures_util::StreamExt;

use crate::{
    api::{
        edge::{
            auth,
            error::{ApiError, Envelope},
            request_id::{RequestId, TraceId},
            state::AppState,
        },
        v1::{early_keepalive, prefer::Prefer, responders},
    },
    domain::{ChatRequest, Client, Tier, client::ClientKind},
    flow::AttemptLog,
    ledger::MAX_RECORD_AGE,
    protocol,
};

/// A chat completion, whole or as a stream
///
/// Request and response are OpenAI's. Fields not listed here are passed to the provider unchanged. The model is a meta-model
/// (`free`, `free-fast`, `free-smart` or one from the configuration), `provider/model`, or a model served by several
/// providers. A request that fails before its first content is tried at the next candidate.
///
/// With `"stream": true` the response is a stream of server-sent events: each `data:` line is a `ChatChunk`, the last is
/// `data: [DONE]`. Comments keep the connection alive while there is no content. An error after the headers is sent as
/// `data: {"error":…}` without `[DONE]`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "chat", operation_id = "create_chat_completion",
    security(("client_key" = [])),
    params(
        (
            "Prefer" = Option<String>, Header, nullable = false, example = "wait=10",
            description = "Seconds the caller is willing to wait for a slot; 0 = never. The smallest of this, the key's \
                default and `queue.max_wait_ms` applies.",
        ),
        (
            "x-request-id" = Option<String>, Header, nullable = false, example = "job-7",
            description = "Kept if it has at most 128 letters, digits and `-_.:`.",
        ),
        ("traceparent" = Option<String>, Header, nullable = false, description = "W3C trace context."),
    ),
    request_body(content = ref("#/components/schemas/ChatRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The provider's response", content(
            (ref("#/components/schemas/ChatCompletion") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        (status = 403, description = "model_not_allowed"),
        (status = 404, description = "model_not_found"),
        (status = 429, description = "client_quota_exceeded, budget_exhausted"),
        (status = 502, description = "upstream_error"),
        (status = 503, description = "ledger_unavailable"),
        (status = 504, description = "upstream_timeout"),
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
// Invalid requests are recorded too, but only those of authenticated callers.
pub(crate) async fn create(
    state: Data<AppState>,
    id: RequestId,
    trace: TraceId,
    prefer: Result<Prefer, ApiError>,
    Chat { client, request }: Chat,
) -> HttpResponse {
    let attempt_log = AttemptLog::with_trace(&*id.0, trace.0);
    let (request, prefer) = match request.and_then(|r| check_tier(r, &client)).and_then(|r| Ok((r, prefer?))) {
        Ok(valid) => valid,
        Err(error) => {
            state.flow.record_rejected(&client, &attempt_log, error.status_code().as_u16(), error.code());
            return error.error_response();
        }
    };
    let wait = state.flow.wait_limits.allowed_wait(&client, request.tier, prefer.0);
    let context = responders::RequestContext {
        model: request.model.clone(),
        attempt_log,
        preference_applied: prefer.cut_to(wait),
    };
    let streams = request.stream;
    let reply = Box::pin(state.flow.chat(client, request, context.attempt_log.clone(), wait));
    if streams { early_keepalive::respond(reply, context).await } else { responders::respond(reply.await, &context) }
}

/// Only keys with permission may use the priority tier.
fn check_tier(request: ChatRequest, client: &Client) -> Result<ChatRequest, ApiError> {
    if request.tier == Tier::Priority && !client.may_priority && client.kind != ClientKind::Admin {
        let message = "This key may not use `service_tier: \"priority\"`.".to_owned();
        return Err(ApiError::InvalidValue { param: Some("service_tier".to_owned()), message });
    }
    Ok(request)
}

/// The authenticated caller and its parsed request. Authentication comes first, so that errors in the request are reported
/// to authenticated callers only.
pub(crate) struct Chat {
    client: Client,
    request: Result<ChatRequest, ApiError>,
}

/// A caller that sends nothing of its body for this long is taken to have left.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

impl FromRequest for Chat {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let max = request.app_data::<Data<AppState>>().map_or(0, |state| state.policy.load().body_bytes);
        let headers = check_headers(request, max);
        let request = request.clone();
        Box::pin(async move {
            // Admission compares the version of a cached record, so an old one is good enough here.
            let client = auth::client(request, MAX_RECORD_AGE).await?;
            let request = async {
                headers?;
                let body = read_body(payload, max).await?;
                protocol::chat::decode(body).map_err(|bad| match bad.code {
                    "invalid_json" => ApiError::InvalidJson { message: bad.message },
                    _ => ApiError::InvalidValue { param: bad.param, message: bad.message },
                })
            };
            Ok(Self { client, request: request.await })
        })
    }
}

/// Checks what can be checked before the body is read. The required content type also keeps pages of other origins out,
/// because browsers send it only after a preflight.
fn check_headers(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).map(|v| v.to_str().unwrap_or("?"));
    let invalid = |param: &str, message| Err(ApiError::InvalidValue { param: Some(param.to_owned()), message });
    let content_type = text(CONTENT_TYPE);
    let essence = content_type.and_then(|v| v.split(';').next()).map(str::trim);
    match (essence, content_type) {
        (Some(essence), _) if essence.eq_ignore_ascii_case("application/json") => {}
        (_, Some(other)) => {
            return invalid("content-type", format!("The content type is `{other}`; send `application/json`."));
        }
        (_, None) => {
            return invalid("content-type", "There is no content type; send `application/json`.".to_owned());
        }
    }
    match text(CONTENT_ENCODING) {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            return invalid("content-encoding", format!("The body is encoded as `{coding}`; send it uncompressed."));
        }
        _ => {}
    }
    match text(CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok()) {
        Some(length) if length > max as u64 => Err(ApiError::TooLarge { max }),
        _ => Ok(()),
    }
}

/// Reads the whole body, at most `max` bytes.
async fn read_body(mut payload: Payload, max: usize) -> Result<Bytes, ApiError> {
    let incomplete = |why: String| ApiError::InvalidJson { message: format!("The body ended early: {why}.") };
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(BODY_IDLE_TIMEOUT, payload.next()).await;
        match chunk.map_err(|_| incomplete(format!("no data for {} s", BODY_IDLE_TIMEOUT.as_secs())))? {
            None => return Ok(body.freeze()),
            Some(Ok(chunk)) if body.len() + chunk.len() > max => return Err(ApiError::TooLarge { max }),
            Some(Ok(chunk)) => body.extend_from_slice(&chunk),
            Some(Err(PayloadError::Incomplete(_))) => return Err(incomplete("the connection was closed".to_owned())),
            Some(Err(error)) => return Err(incomplete(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, AuthSettings, Settings},
    };

    fn chat() -> TestRequest {
        TestRequest::post().uri("/v1/chat/completions").insert_header(("content-type", "application/json"))
    }

    fn bounded(body_bytes: usize) -> Settings {
        let mut settings = Settings::default();
        settings.http.body_bytes = body_bytes;
        settings
    }

    fn small() -> Settings {
        bounded(64)
    }

    #[actix_web::test]
    async fn a_body_over_the_limit_is_413_with_or_without_a_content_length() {
        let app = app(small()).await;
        let (status, _, body) = call(&app, chat().set_payload(vec![b' '; 65])).await;
        assert_eq!((status, &body["error"]["code"]), (413, &"request_too_large".into()));
        let with_length = chat().insert_header(("content-length", "65"));
        assert_eq!(call(&app, with_length).await.0, 413);
        // A body at the limit is read and rejected as invalid JSON.
        let (status, _, body) = call(&app, chat().set_payload(vec![b' '; 64])).await;
        assert_eq!((status, &body["error"]["code"]), (400, &"invalid_json".into()));
    }

    #[actix_web::test]
    async fn only_uncompressed_json_is_accepted() {
        let app = app(small()).await;
        let form = TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("content-type", "application/x-www-form-urlencoded"));
        let (status, _, body) = call(&app, form.set_payload("{}")).await;
        assert_eq!((status, &body["error"]["param"]), (400, &"content-type".into()), "{body}");
        let compressed = chat().insert_header(("content-encoding", "gzip"));
        assert_eq!(call(&app, compressed).await.2["error"]["param"], "content-encoding");
        let charset = TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("content-type", "Application/JSON; charset=utf-8"));
        assert_eq!(call(&app, charset.set_payload("nope")).await.2["error"]["code"], "invalid_json");
    }

    #[actix_web::test]
    async fn an_unauthenticated_caller_gets_no_other_error() {
        let app = app(Settings { auth: AuthSettings { mode: Some(AuthMode::Required) }, ..small() }).await;
        let (status, _, body) = call(&app, chat().set_payload(vec![b' '; 65])).await;
        assert_eq!((status, &body["error"]["code"]), (401, &"invalid_api_key".into()));
    }

    #[actix_web::test]
    async fn without_any_provider_the_404_says_what_to_do() {
        let app = app(bounded(1_000)).await;
        let body = r#"{"model":"free","messages":[{"role":"user","content":"hi"}]}"#;
        let (status, headers, body) = call(&app, chat().set_payload(body)).await;
        assert_eq!((status, &body["error"]["code"]), (404, &"model_not_found".into()));
        assert!(body["error"]["message"].as_str().unwrap().contains("tollfree demo"), "{body}");
        assert_eq!(headers.get("x-tollfree-waited-ms").unwrap(), "0");
    }
}
