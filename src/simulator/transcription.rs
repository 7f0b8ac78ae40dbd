//! Transcribes recordings: the length of a WAV file decides about the text, and a prompt with `silence` has none.

use serde_json::{Value, json};

use super::{
    dialects::{DialectName, StreamEvent, request_checks::RequestError},
    provider::Model,
    request::SimulatedRequest,
};

/// Groq counts at least as many seconds for a call.
const MIN_SECONDS: i64 = 10;
const MAX_FILE_BYTES: usize = 25 << 20;
/// Words for each five seconds.
const WORDS: &str = "and so the talk goes on.";

/// Parses a form. The error says what is missing.
pub(super) fn parse(body: &[u8], content_type: &str) -> Result<SimulatedRequest, String> {
    let boundary = content_type.split_once("boundary=").map(|(_, rest)| rest.trim_matches('"')).unwrap_or_default();
    let wanted = format!("--{boundary}");
    let field = |name: &str| {
        let head = format!("name=\"{name}\"");
        let at = find(body, head.as_bytes())?;
        let start = at + find(&body[at..], b"\r\n\r\n")? + 4;
        let end = start + find(&body[start..], format!("\r\n{wanted}").as_bytes())?;
        Some(&body[start..end])
    };
    let text = |name: &str| field(name).map(|value| String::from_utf8_lossy(value).into_owned());
    if boundary.is_empty() || find(body, format!("{wanted}--").as_bytes()).is_none() {
        return Err("request Content-Type isn't multipart/form-data".to_owned());
    }
    let file = field("file").ok_or("file or url must be provided")?;
    let seconds = seconds(file).ok_or("file must be one of the following types: [wav]")?;
    let request = json!({
        "seconds": seconds, "bytes": file.len(), "prompt": text("prompt"),
        "response_format": text("response_format").unwrap_or_else(|| "json".to_owned()),
    });
    let model = text("model").ok_or("`model` is missing")?;
    let stream = text("stream").is_some_and(|value| value != "false");
    Ok(SimulatedRequest { model, stream, body: request, ..SimulatedRequest::default() })
}

/// Counts the seconds that this model's provider finds in the recording, which its response states.
pub(super) fn count_seconds(model: &Model, request: &mut SimulatedRequest) {
    let seconds = request.body["seconds"].as_f64().unwrap_or(0.0) * model.seconds_found;
    request.body["seconds"] = seconds.into();
    #[expect(clippy::cast_possible_truncation, reason = "a recording is far shorter")]
    let whole = seconds.ceil() as i64;
    request.sound = whole.max(MIN_SECONDS);
}

fn find(all: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(all, wanted)
}

/// Seconds of a WAV file.
fn seconds(file: &[u8]) -> Option<f64> {
    let number =
        |at: usize| file.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let format = find(file, b"fmt ").filter(|_| file.starts_with(b"RIFF"))?;
    let data = find(file, b"data")?;
    Some(f64::from(number(data + 4)?) / f64::from(number(format + 16)?))
}

/// The first thing that is wrong with a request.
pub(super) fn check(dialect: DialectName, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
    let wrong = |param, message: String| Some(RequestError::Value { param, message });
    if !model.can.transcribe {
        return wrong("model", format!("The model `{}` does not support transcriptions", model.id));
    }
    if request.body["bytes"].as_u64().unwrap_or(0) > MAX_FILE_BYTES as u64 {
        return wrong("file", "file is too large: at most 25 MB".to_owned());
    }
    if !matches!(request.body["response_format"].as_str(), Some("json" | "text" | "verbose_json")) {
        return wrong("response_format", "response_format must be one of `[json text verbose_json]`".to_owned());
    }
    if request.stream && dialect != DialectName::Mistral {
        return wrong("stream", "streaming is not supported".to_owned());
    }
    None
}

/// The events of a response in pieces, as at Mistral.
pub(super) fn events(request: &SimulatedRequest) -> Vec<StreamEvent> {
    let text = text(request);
    let event = |kind: &str, mut data: Value, paced| {
        data["type"] = kind.into();
        StreamEvent { text: format!("event: {kind}\ndata: {data}\n\n"), paced, tokens: 0 }
    };
    let mut events = vec![event("transcription.language", json!({ "audio_language": "en" }), false)];
    let pieces =
        text.split_inclusive('.').map(|piece| event("transcription.text.delta", json!({ "text": piece }), true));
    events.extend(pieces);
    let usage = json!({ "prompt_audio_seconds": request.body["seconds"], "prompt_tokens": 4, "completion_tokens": 9 });
    events.push(event("transcription.done", json!({ "text": text, "usage": usage }), false));
    events
}

/// The transcript.
fn text(request: &SimulatedRequest) -> String {
    let whole: Value = serde_json::from_str(&response(&SimulatedRequest {
        body: json!({ "seconds": request.body["seconds"], "prompt": request.body["prompt"] }),
        ..SimulatedRequest::default()
    }))
    .unwrap_or_default();
    whole["text"].as_str().unwrap_or_default().to_owned()
}

/// The body of the response.
pub(super) fn response(request: &SimulatedRequest) -> String {
    let seconds = request.body["seconds"].as_f64().unwrap_or(0.0);
    let is_silent = request.body["prompt"].as_str().is_some_and(|prompt| prompt.contains("silence"));
    let mut segments: Vec<Value> = Vec::new();
    let mut start = 0.0;
    while start < seconds && !is_silent {
        let end = (start + 5.0_f64).min(seconds);
        segments.push(json!({ "id": segments.len(), "start": start, "end": end, "text": format!(" {WORDS}") }));
        start = end;
    }
    let text: String = segments.iter().filter_map(|segment| segment["text"].as_str()).collect();
    match request.body["response_format"].as_str() {
        Some("text") => text,
        Some("verbose_json") => json!({
            "task": "transcribe", "language": "English", "duration": seconds, "text": text, "segments": segments,
        })
        .to_string(),
        _ => json!({ "text": text }).to_string(),
    }
}
