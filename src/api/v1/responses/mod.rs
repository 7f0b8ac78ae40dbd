//! `/v1/responses`: OpenAI's Responses.

pub(crate) mod stored;

use actix_web::{
    HttpResponse,
    http::header::HeaderMap,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{
            error::{ApiError, Envelope},
            state::AppState,
        },
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders, estimate_prompt},
            posted::Posted,
            prefer::Prefer,
        },
    },
    domain::Client,
    protocol::{
        Decoded, Protocol,
        responses::{Manners, Options, Purpose, RequestBody},
    },
};

/// A conversation is cut this often before its request fails for its size.
const MAX_TRUNCATIONS: usize = 6;
/// Kept of what should fit, since the text of a conversation is not all that counts.
const TRUNCATION_MARGIN: f64 = 0.9;

/// A response, whole or as a stream
///
/// Request, events and response are those of OpenAI's Responses. The request is served as a chat completion, so every model
/// can answer it; `model` in the response names the one that did.
///
/// With `"stream": true` the response is a stream of server-sent events, each with `type` and `sequence_number`; the last is
/// `response.completed`, `response.incomplete` or `response.failed`. Events of the type `keepalive` keep the connection alive
/// while there is no content. To Codex, and to callers that send `Prefer: wait`, a refusal of at most 60 s is sent as
/// `response.failed` with the code `rate_limit_exceeded` and the time to wait at the end of its message.
#[utoipa::path(
    post, path = "/v1/responses", tag = "responses", operation_id = "create_response",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/ResponsesRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The response", content(
            (ref("#/components/schemas/ResponsesObject") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models, previous_response_not_found"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    answer(call, posted, Purpose::Respond).await
}

/// A summary that replaces a conversation
///
/// A model summarises the conversation. The summary is returned sealed, as one `compaction` item: sent back as the beginning of
/// the input, it stands for everything before.
#[utoipa::path(
    post, path = "/v1/responses/compact", tag = "responses", operation_id = "compact_response",
    security(("client_key" = [])),
    request_body(
        content = ref("#/components/schemas/ResponsesCompactRequest"), content_type = "application/json",
        example = json!({ "model": "free", "input": [{ "role": "user", "content": "Why is the sky blue?" }] }),
    ),
    responses(
        (status = 200, description = "The compacted conversation", content(
            (ref("#/components/schemas/ResponsesCompaction") = "application/json"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models, previous_response_not_found"),
        ModelErrors,
    ),
)]
pub(crate) async fn compact(call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    answer(call, posted, Purpose::Compact).await
}

/// Estimated tokens of the input
///
/// The estimate is that of admission, corrected by what the model's provider has counted so far. It costs no budget.
#[utoipa::path(
    post, path = "/v1/responses/input_tokens", tag = "responses", operation_id = "count_response_tokens",
    security(("client_key" = [])),
    request_body(
        content = ref("#/components/schemas/ResponsesRequest"), content_type = "application/json",
        example = json!({ "model": "free", "input": "Why is the sky blue?" }),
    ),
    responses(
        (status = 200, description = "The estimate", body = InputTokens),
        (status = 400, description = "previous_response_not_found"),
        (status = 403, description = "model_not_allowed"),
        (status = 404, description = "model_not_found"),
    ),
)]
pub(crate) async fn count_tokens(
    state: Data<AppState>,
    posted: Result<Posted, ApiError>,
) -> Result<Json<InputTokens>, ApiError> {
    let Posted { client, body, memory: _memory, .. } = posted?;
    let body = body?;
    let body = RequestBody::read(&body)?;
    let options = Options { purpose: Purpose::Count, ..Options::default() };
    let request = read(&state, &client, &body, options).await?.request;
    let input_tokens = estimate_prompt(&state, &client, &request)?;
    Ok(Json(InputTokens { object: "response.input_tokens", input_tokens }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ResponsesInputTokens)]
pub(crate) struct InputTokens {
    object: &'static str,
    input_tokens: i64,
}

async fn answer(mut call: Call, posted: Result<Posted, ApiError>, purpose: Purpose) -> HttpResponse {
    let Posted { client, request, body, .. } = match call.take(posted) {
        Ok(posted) => posted,
        Err(error) => return call.refuse(Protocol::Responses, &error),
    };
    let decoded = async {
        let (body, manners) = (body?, manners(request.headers()));
        let body = RequestBody::read(&body)?;
        let mut decoded = read(&call.state, &client, &body, Options { purpose, manners, ..Options::default() }).await?;
        if !body.truncates() {
            return Ok(decoded);
        }
        let mut share = 1.0;
        for _ in 0..MAX_TRUNCATIONS {
            let Some((needed, largest)) = call.state.flow.context_excess(&client, &decoded.request) else { break };
            share *= TRUNCATION_MARGIN * largest as f64 / needed.max(1) as f64;
            let options = Options { purpose, manners, kept_share: Some(share), ..Options::default() };
            decoded = read(&call.state, &client, &body, options).await?;
        }
        Ok(decoded)
    };
    match decoded.await {
        Ok(decoded) => call.serve(Protocol::Responses, client, decoded).await,
        Err(error) => call.reject(Protocol::Responses, &client, &error),
    }
}

async fn read(
    state: &Data<AppState>,
    client: &Client,
    body: &RequestBody<'_>,
    options: Options,
) -> Result<Decoded, ApiError> {
    let options = complete(state, client, body, options).await?;
    Ok(body.decode(options)?)
}

/// Adds the key and, where responses are stored, what the request refers to.
async fn complete(
    state: &Data<AppState>,
    client: &Client,
    body: &RequestBody<'_>,
    mut options: Options,
) -> Result<Options, ApiError> {
    let bounds = {
        let policy = state.policy.load();
        options.sealer.clone_from(&policy.sealer);
        policy.responses
    };
    match bounds {
        Some(bounds) => stored::prepare(state, client, bounds, body, options).await,
        None => Ok(options),
    }
}

/// Codex names itself in `originator`. Whoever says how long it waits can also read when to come back.
fn manners(headers: &HeaderMap) -> Manners {
    let originator = headers.get("originator").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_codex = originator.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("codex"));
    let waits = Prefer::parse(headers).is_ok_and(|prefer| prefer.0.is_some_and(|wait| !wait.is_zero()));
    Manners { is_codex, sleeps_in_stream: is_codex || waits }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        http::header::{HeaderName, HeaderValue},
        test::TestRequest,
    };

    use super::*;
    use crate::{
        api::test_support::{app, call},
        config::Settings,
    };

    fn post(path: &str, body: &'static str) -> TestRequest {
        TestRequest::post().uri(path).insert_header(("content-type", "application/json")).set_payload(body)
    }

    #[test]
    fn codex_and_callers_that_wait_sleep_in_the_stream() {
        for (name, value, expected) in [
            ("originator", "codex_cli_rs", (true, true)),
            ("originator", "Codex Desktop", (true, true)),
            ("originator", "cod", (false, false)),
            ("prefer", "wait=10", (false, true)),
            ("prefer", "wait=0", (false, false)),
            ("accept", "*/*", (false, false)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            let manners = manners(&headers);
            assert_eq!((manners.is_codex, manners.sleeps_in_stream), expected, "{name}: {value}");
        }
    }

    #[actix_web::test]
    async fn a_mistake_has_its_code_and_its_path() {
        let app = app(Settings::default()).await;
        for (path, body, code, param) in [
            ("/v1/responses", "{", "invalid_json", None),
            ("/v1/responses", r#"{"input":[{"role":"robot","content":"x"}]}"#, "invalid_value", Some("input[0].role")),
            ("/v1/responses", r#"{"input":"x","background":true}"#, "invalid_value", Some("background")),
            (
                "/api/v1/responses",
                r#"{"input":"x","previous_response_id":"resp_1"}"#,
                "previous_response_not_found",
                Some("previous_response_id"),
            ),
            ("/v1/responses/compact", r#"{"input":"x"}"#, "invalid_value", Some("model")),
        ] {
            let (status, _, answer) = call(&app, post(path, body)).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &code.into()), "{path} {body}: {answer}");
            assert_eq!(answer["error"]["param"].as_str(), param, "{path} {body}: {answer}");
        }
    }

    #[actix_web::test]
    async fn a_request_without_a_model_is_for_the_smartest() {
        let app = app(Settings::default()).await;
        let (status, _, answer) = call(&app, post("/v1/responses", r#"{"input":"x"}"#)).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!((status, message.contains("free-smart")), (404, true), "{message}");
    }
}
