//! `POST /v1/chat/completions`: OpenAI's chat completions.

use actix_web::HttpResponse;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            posted::Posted,
        },
    },
    protocol::{self, Decoded, Protocol},
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
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/ChatRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The provider's response", content(
            (ref("#/components/schemas/ChatCompletion") = "application/json"), (String = "text/event-stream"),
        )),
        (status = 400, description = "context_length_exceeded, unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(call: Call, posted: Result<Posted, ApiError>) -> HttpResponse {
    call.answer(Protocol::Chat, posted, |body, _| protocol::chat::decode(body).map(Decoded::chat)).await
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
    async fn only_json_in_a_known_encoding_is_accepted() {
        let app = app(small()).await;
        let form = TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("content-type", "application/x-www-form-urlencoded"));
        let (status, _, body) = call(&app, form.set_payload("{}")).await;
        assert_eq!((status, &body["error"]["param"]), (400, &"content-type".into()), "{body}");
        let unknown = chat().insert_header(("content-encoding", "lzma")).set_payload("x");
        let (status, _, body) = call(&app, unknown).await;
        assert_eq!((status, &body["error"]["code"]), (415, &"unsupported_encoding".into()));
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
