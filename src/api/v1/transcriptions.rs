//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`: OpenAI's transcripts of recordings.

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::value::RawValue;

use crate::{
    api::{
        edge::error::{ApiError, Envelope},
        v1::{
            exchange::{Call, ModelErrors, ModelHeaders},
            upload::{Spooled, Uploaded, on_disk},
        },
    },
    domain::Client,
    protocol::{
        Encoder, Protocol,
        transcription::{self, Task, TranscriptEncoder, Transcription},
    },
};

/// What is said in a recording
///
/// Form and answer are OpenAI's. The form is passed on as it came, but for the model's name, the response format and `stream`: every
/// format is written here from the provider's transcript. The recording waits in a file, so that another provider can get it, too.
#[utoipa::path(
    post, path = "/v1/audio/transcriptions", tag = "audio", operation_id = "create_transcription",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/TranscriptionRequest"), content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The transcript, in the requested form", content(
            (ref("#/components/schemas/Transcription") = "application/json"), (String = "text/plain"),
            (String = "text/vtt"), (String = "text/event-stream"),
        )),
        (status = 400, description = "unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn create(call: Call, uploaded: Result<Uploaded, ApiError>) -> HttpResponse {
    answer(call, uploaded, Task::Transcribe).await
}

/// What is said in a recording, in English
///
/// As for transcriptions; for models with the capability `translate`.
#[utoipa::path(
    post, path = "/v1/audio/translations", tag = "audio", operation_id = "create_translation",
    security(("client_key" = [])),
    params(ModelHeaders),
    request_body(content = ref("#/components/schemas/TranscriptionRequest"), content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The transcript, in the requested form", content(
            (ref("#/components/schemas/Transcription") = "application/json"), (String = "text/plain"),
            (String = "text/vtt"), (String = "text/event-stream"),
        )),
        (status = 400, description = "unsupported_by_models"),
        ModelErrors,
        (status = "4XX", description = "A provider rejected the request; its own message", body = Envelope),
    ),
)]
pub(crate) async fn translate(call: Call, uploaded: Result<Uploaded, ApiError>) -> HttpResponse {
    answer(call, uploaded, Task::Translate).await
}

async fn answer(call: Call, uploaded: Result<Uploaded, ApiError>, task: Task) -> HttpResponse {
    let protocol = Protocol::Transcriptions;
    let Uploaded { client, body } = match uploaded {
        Ok(uploaded) => uploaded,
        Err(error) => return call.refuse(protocol, &error),
    };
    let read = match body {
        Ok(spooled) => read(spooled, task).await,
        Err(error) => Err(error),
    };
    match read {
        Ok(read) => respond(call, client, read).await,
        Err(error) => call.reject(protocol, &client, &error),
    }
}

async fn read(spooled: Spooled, task: Task) -> Result<Transcription, ApiError> {
    let Spooled { file, bytes, content_type } = spooled;
    Ok(on_disk(move || transcription::decode(file, bytes, &content_type, task)).await??)
}

async fn respond(call: Call, client: Client, read: Transcription) -> HttpResponse {
    let Transcription { request, form, stream } = read;
    let mut content_type = None;
    let encode = |transcript: Box<RawValue>, _: &str| {
        let answer = transcription::encode(&transcript, form, stream).ok()?;
        content_type = Some(answer.content_type);
        Some(answer.body)
    };
    let encoder = stream.then(|| Box::<TranscriptEncoder>::default() as Box<dyn Encoder>);
    let mut response = call.compute_or_relay(Protocol::Transcriptions, client, request, encode, encoder).await;
    if let Some(kind) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}
