//! `POST /v1/chat/completions`: reads the request with a bound, hands it to the flow.

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
            state::Edge,
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
/// OpenAI's request and answer. Fields not listed here pass to the provider untouched. The model is a meta-model
/// (`free`, `free-fast`, `free-smart` or one of the operator's own), `provider/model`, or a model that several providers
/// serve; what fails before its first content is tried at the next candidate.
///
/// With `"stream": true` the answer is server-sent events: each `data:` line is a `ChatChunk`, `data: [DONE]` is the last.
/// While nothing has come yet, comments keep the connection alive; a failure after the head is `data: {"error":…}` in the
/// one envelope, without `[DONE]`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "chat", operation_id = "create_chat_completion",
    security(("client_key" = [])),
    params(
        (
            "Prefer" = Option<String>, Header, nullable = false, example = "wait=10",
            description = "Seconds the caller will wait for a slot; 0 = never. The least of this, the key's default and \
                `queue.max_wait_ms` counts.",
        ),
        (
            "x-request-id" = Option<String>, Header, nullable = false, example = "job-7",
            description = "Kept when it has at most 128 letters, digits and `-_.:`.",
        ),
        ("traceparent" = Option<String>, Header, nullable = false, description = "W3C trace context."),
    ),
    request_body(content = ref("#/components/schemas/ChatRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The provider's answer", content(
            (ref("#/components/schemas/ChatCompletion") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        (status = 403, description = "model_not_allowed"),
        (status = 404, description = "model_not_found"),
        (status = 429, description = "client_quota_exceeded, budget_exhausted"),
        (status = 502, description = "upstream_error"),
        (status = 503, description = "ledger_unavailable"),
        (status = 504, description = "upstream_timeout"),
        (status = "4XX", description = "A mistake that only a provider could see, in its own words", body = Envelope),
    ),
)]
// What is wrong with the request is answered and recorded, but only for callers who may come in.
pub async fn create(
    edge: Data<Edge>,
    id: RequestId,
    trace: TraceId,
    prefer: Result<Prefer, ApiError>,
    Chat { client, request }: Chat,
) -> HttpResponse {
    let attempt_log = AttemptLog::with_trace(&*id.0, trace.0);
    let (request, prefer) = match request.and_then(|r| allowed(r, &client)).and_then(|r| Ok((r, prefer?))) {
        Ok(asked) => asked,
        Err(error) => {
            edge.flow.record_rejected(&client, &attempt_log, error.status_code().as_u16(), error.code());
            return error.error_response();
        }
    };
    let wait = edge.flow.wait_limits.allowed_wait(&client, request.tier, prefer.0);
    let asked =
        responders::Asked { model: request.model.clone(), attempt_log, preference_applied: prefer.cut_to(wait) };
    let streams = request.stream;
    let answer = Box::pin(edge.flow.chat(client, request, asked.attempt_log.clone(), wait));
    if streams { early_keepalive::respond(answer, asked).await } else { responders::finish(answer.await, &asked) }
}

/// Going first is for keys that may.
fn allowed(request: ChatRequest, client: &Client) -> Result<ChatRequest, ApiError> {
    if request.tier == Tier::Priority && !client.may_priority && client.kind != ClientKind::Admin {
        let message = "This key may not ask for `service_tier: \"priority\"`.".to_owned();
        return Err(ApiError::InvalidValue { param: Some("service_tier".to_owned()), message });
    }
    Ok(request)
}

/// Who asks, found out first, since nobody else hears what is wrong with the request; and the request, read and checked.
pub struct Chat {
    client: Client,
    request: Result<ChatRequest, ApiError>,
}

/// How old a member's record may be for planning a chat: the admission compares its version.
const PLANNED_BY: Duration = MAX_RECORD_AGE;
/// A caller that stops in the middle of its body for so long has gone.
const BODY_SILENCE: Duration = Duration::from_secs(30);

impl FromRequest for Chat {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let most = request.app_data::<Data<Edge>>().map_or(0, |edge| edge.door.load().body_bytes);
        let begun = check_head(request, most);
        let request = request.clone();
        Box::pin(async move {
            let client = auth::client(request, PLANNED_BY).await?;
            let request = async {
                begun?;
                let body = read(payload, most).await?;
                protocol::chat::decode(body).map_err(|bad| match bad.code {
                    "invalid_json" => ApiError::InvalidJson { message: bad.message },
                    _ => ApiError::InvalidValue { param: bad.param, message: bad.message },
                })
            };
            Ok(Self { client, request: request.await })
        })
    }
}

/// What can be refused before a byte of the body is read. Requiring JSON's content type also keeps web pages of other
/// origins out: they cannot send it without asking first.
fn check_head(request: &HttpRequest, most: usize) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).map(|v| v.to_str().unwrap_or("?"));
    let wrong = |param: &str, message| Err(ApiError::InvalidValue { param: Some(param.to_owned()), message });
    let content_type = text(CONTENT_TYPE);
    let essence = content_type.and_then(|v| v.split(';').next()).map(str::trim);
    match (essence, content_type) {
        (Some(essence), _) if essence.eq_ignore_ascii_case("application/json") => {}
        (_, Some(other)) => {
            return wrong("content-type", format!("The content type is `{other}`; send `application/json`."));
        }
        (_, None) => return wrong("content-type", "There is no content type; send `application/json`.".to_owned()),
    }
    match text(CONTENT_ENCODING) {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            return wrong("content-encoding", format!("The body is encoded as `{coding}`; send it as it is."));
        }
        _ => {}
    }
    match text(CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok()) {
        Some(length) if length > most as u64 => Err(ApiError::TooLarge { max: most }),
        _ => Ok(()),
    }
}

/// The whole body, and never more of it than `most`, whatever its head said.
async fn read(mut payload: Payload, most: usize) -> Result<Bytes, ApiError> {
    let cut = |why: String| ApiError::InvalidJson { message: format!("The body ended early: {why}.") };
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(BODY_SILENCE, payload.next()).await;
        match chunk.map_err(|_| cut(format!("nothing came for {} s", BODY_SILENCE.as_secs())))? {
            None => return Ok(body.freeze()),
            Some(Ok(chunk)) if body.len() + chunk.len() > most => return Err(ApiError::TooLarge { max: most }),
            Some(Ok(chunk)) => body.extend_from_slice(&chunk),
            Some(Err(PayloadError::Incomplete(_))) => return Err(cut("the connection was closed".to_owned())),
            Some(Err(error)) => return Err(cut(error.to_string())),
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
    async fn a_body_over_the_limit_is_413_with_or_without_its_length_told() {
        let app = app(small()).await;
        let (status, _, body) = call(&app, chat().set_payload(vec![b' '; 65])).await;
        assert_eq!((status, &body["error"]["code"]), (413, &"request_too_large".into()));
        let told = chat().insert_header(("content-length", "65"));
        assert_eq!(call(&app, told).await.0, 413);
        // At the limit it is read, and found not to be JSON.
        let (status, _, body) = call(&app, chat().set_payload(vec![b' '; 64])).await;
        assert_eq!((status, &body["error"]["code"]), (400, &"invalid_json".into()));
    }

    #[actix_web::test]
    async fn only_json_as_it_is_is_taken() {
        let app = app(small()).await;
        let form = TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("content-type", "application/x-www-form-urlencoded"));
        let (status, _, body) = call(&app, form.set_payload("{}")).await;
        assert_eq!((status, &body["error"]["param"]), (400, &"content-type".into()), "{body}");
        let packed = chat().insert_header(("content-encoding", "gzip"));
        assert_eq!(call(&app, packed).await.2["error"]["param"], "content-encoding");
        let charset = TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("content-type", "Application/JSON; charset=utf-8"));
        assert_eq!(call(&app, charset.set_payload("nope")).await.2["error"]["code"], "invalid_json");
    }

    #[actix_web::test]
    async fn who_may_not_enter_hears_of_nothing_else() {
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
