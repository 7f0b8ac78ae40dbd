//! Sends a recording from its file, and reads the transcript. The file is read in small pieces, as the provider takes them.

use std::{collections::VecDeque, fmt::Write as _, fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::embeddings::Unusable;
use crate::domain::{Candidate, Upload};

/// Whole groups of three bytes, which Base64 needs.
const PIECE_BYTES: u64 = 3 * (16 << 10);

/// No codec for speech needs fewer: what a provider counts beyond is damage.
const LEAST_BYTES_PER_SECOND: f64 = 50.0;

/// In an address of Cloudflare's that runs one model: it takes JSON with the recording in Base64.
const RUN: &str = "run/@cf/";

/// A piece of the body that is sent.
#[derive(Debug, Clone)]
enum Piece {
    /// Bytes of the file: from, to.
    File(u64, u64),
    /// The same in Base64. Pieces of it are of whole groups of three bytes.
    Base64(u64, u64),
    Text(String),
}

/// A body for a candidate.
pub(super) struct Body {
    pub stream: reqwest::Body,
    pub length: u64,
    pub content_type: String,
}

pub(super) fn body(upload: &Upload, candidate: &Candidate) -> Body {
    let (pieces, content_type) = if runs_one_model(candidate) {
        (as_json(upload), "application/json".to_owned())
    } else {
        (pieces(upload, candidate), upload.content_type.clone())
    };
    let length = pieces.iter().map(|piece| match piece {
        Piece::File(from, to) => to.saturating_sub(*from),
        Piece::Base64(from, to) => to.saturating_sub(*from).div_ceil(3) * 4,
        Piece::Text(text) => text.len() as u64,
    });
    let length = length.sum();
    Body { stream: reqwest::Body::wrap_stream(read(upload.file.clone(), pieces)), length, content_type }
}

fn runs_one_model(candidate: &Candidate) -> bool {
    candidate.model.url.as_ref().is_some_and(|url| url.contains(RUN))
}

/// Cloudflare's form of the request.
fn as_json(upload: &Upload) -> Vec<Piece> {
    let task = if upload.is_translation { "translate" } else { "transcribe" };
    let mut rest = format!("\",\"task\":\"{task}\"");
    for (name, value) in [("language", &upload.language), ("initial_prompt", &upload.prompt)] {
        if let Some(value) = value {
            // Writing to a `String` cannot fail.
            let _ = write!(rest, ",\"{name}\":{}", Value::from(value.as_str()));
        }
    }
    rest.push('}');
    let Range { start, end } = upload.recording;
    vec![Piece::Text("{\"audio\":\"".to_owned()), Piece::Base64(start, end), Piece::Text(rest)]
}

/// The file with the changes for a candidate, in order.
fn pieces(upload: &Upload, candidate: &Candidate) -> Vec<Piece> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    for (range, text) in upload.edits_for(&candidate.model) {
        pieces.push(Piece::File(at, range.start));
        pieces.push(Piece::Text(text));
        at = range.end;
    }
    pieces.push(Piece::File(at, upload.bytes));
    pieces
}

/// Reads the pieces one after another.
fn read(file: Arc<File>, pieces: Vec<Piece>) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, VecDeque::from(pieces)), |(file, mut pieces)| async move {
        loop {
            match pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Text(text)) => return Ok(Some((Bytes::from(text), (file, pieces)))),
                Some(piece @ (Piece::File(from, to) | Piece::Base64(from, to))) if from < to => {
                    let is_encoded = matches!(piece, Piece::Base64(..));
                    let end = to.min(from + PIECE_BYTES);
                    if end < to {
                        pieces.push_front(if is_encoded { Piece::Base64(end, to) } else { Piece::File(end, to) });
                    }
                    let reader = file.clone();
                    // Reading at a position leaves other attempts' positions alone.
                    let bytes = tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
                        reader.read_exact_at(&mut bytes, from)?;
                        let bytes = if is_encoded { BASE64.encode(&bytes).into() } else { bytes };
                        std::io::Result::Ok(Bytes::from(bytes))
                    });
                    let bytes = bytes.await.map_err(std::io::Error::other)??;
                    return Ok(Some((bytes, (file, pieces))));
                }
                Some(Piece::File(..) | Piece::Base64(..)) => {}
            }
        }
    })
}

/// What a response says.
#[derive(Debug, PartialEq)]
pub(super) struct Transcript {
    /// An object with at least a `text`.
    pub json: Bytes,
    pub is_empty: bool,
    /// Seconds that the provider counted.
    pub seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Response {
    text: Option<String>,
    duration: Option<f64>,
    usage: Option<Usage>,
    error: Option<Value>,
    /// Cloudflare's, around the rest.
    result: Option<RunResult>,
}

#[derive(Deserialize)]
struct RunResult {
    text: Option<String>,
    #[serde(default)]
    segments: Vec<RunSegment>,
    transcription_info: Option<RunInfo>,
}

#[derive(Deserialize, Serialize)]
struct RunSegment {
    start: f64,
    end: f64,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct RunInfo {
    language: Option<String>,
    duration: Option<f64>,
}

impl RunResult {
    /// As `verbose_json` has it.
    fn into_verbose(self, task: &str) -> String {
        let RunResult { text, segments, transcription_info: info } = self;
        let (language, duration) = info.map_or((None, None), |info| (info.language, info.duration));
        let mut verbose = serde_json::json!({ "task": task, "text": text, "segments": segments });
        if let Some(language) = language {
            verbose["language"] = language.into();
        }
        if let Some(duration) = duration {
            verbose["duration"] = duration.into();
        }
        verbose.to_string()
    }
}

#[derive(Deserialize)]
struct Usage {
    seconds: Option<f64>,
    /// Mistral's name.
    prompt_audio_seconds: Option<f64>,
}

/// The transcript in a response: an object, or a plain text where the server has ignored the form.
pub(super) fn read_transcript(text: &str, upload: &Upload) -> Result<Transcript, Unusable> {
    let start = text.trim_start();
    if !start.starts_with('{') {
        // A web page, or events that were not requested.
        if start.starts_with('<') || start.starts_with("data:") || start.starts_with("event:") {
            return Err(Unusable::Malformed("the response is no transcript".to_owned()));
        }
        if upload.form.needs_times() {
            return Err(Unusable::Malformed("the transcript has no times".to_owned()));
        }
        let json = serde_json::json!({ "text": text.trim() }).to_string().into();
        return Ok(Transcript { json, is_empty: text.trim().is_empty(), seconds: None });
    }
    let response: Response = serde_json::from_str(text).map_err(|error| Unusable::Malformed(error.to_string()))?;
    if let Some(result) = response.result {
        let task = if upload.is_translation { "translate" } else { "transcribe" };
        return read_transcript(&result.into_verbose(task), upload);
    }
    let Response { text: spoken, duration, usage, error, .. } = response;
    let Some(spoken) = spoken else {
        let is_error = error.is_some_and(|error| !error.is_null());
        let malformed = || Unusable::Malformed("the response has no `text`".to_owned());
        return Err(if is_error { Unusable::Error } else { malformed() });
    };
    let counted = usage.and_then(|usage| usage.seconds.or(usage.prompt_audio_seconds));
    let most = upload.seconds.max(upload.recording_bytes() as f64 / LEAST_BYTES_PER_SECOND) + 60.0;
    let seconds = duration.or(counted).filter(|seconds| (0.0..=most).contains(seconds));
    Ok(Transcript { json: text.to_owned().into(), is_empty: spoken.trim().is_empty(), seconds })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::TryStreamExt;

    use super::*;
    use crate::{
        domain::{TranscriptForm, UploadEdit},
        plan::test_support::candidate,
    };

    fn upload(body: &[u8], model: std::ops::Range<u64>, edits: Vec<UploadEdit>, form: TranscriptForm) -> Upload {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        Upload {
            file: Arc::new(file),
            bytes: body.len() as u64,
            content_type: "multipart/form-data; boundary=b".into(),
            model,
            edits,
            recording: 0..body.len() as u64,
            language: None,
            prompt: None,
            seconds: 7.0,
            form,
            stream: false,
            is_translation: false,
        }
    }

    #[tokio::test]
    async fn the_body_is_sent_as_it_came_but_for_its_edits() {
        let body = [b"model=MODEL;form=json;".to_vec(), vec![b'x'; 200_000]].concat();
        let edit =
            |text: &str, only_verbose| UploadEdit { range: 17..21, text: text.into(), only_verbose, only_whole: false };
        let upload = upload(&body, 6..11, vec![edit("verbose_json", true), edit("text", false)], TranscriptForm::Json);
        for (states_times, form) in [(true, "verbose_json"), (false, "text")] {
            let one = candidate("p/whisper-1").model(|m| m.states_times = states_times).build();
            let super::Body { length, content_type, .. } = super::body(&upload, &one);
            assert_eq!(content_type, upload.content_type);
            let sent: Vec<Bytes> = read(upload.file.clone(), pieces(&upload, &one)).try_collect().await.unwrap();
            let expected = format!("model=whisper-1;form={form};{}", "x".repeat(200_000));
            assert!(sent.concat() == expected.as_bytes(), "{form}");
            assert_eq!(length, expected.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_recording_goes_to_cloudflare_in_base64() {
        let recording: Vec<u8> = (0..200_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut upload = upload(
            &[b"--b;".to_vec(), recording.clone(), b";--b--".to_vec()].concat(),
            0..0,
            Vec::new(),
            TranscriptForm::Srt,
        );
        (upload.recording, upload.language, upload.prompt) = (4..200_005, Some("en".into()), Some("Ann \"A\"".into()));
        let one =
            candidate("cloudflare/@cf/openai/whisper").model(|m| m.url = Some("run/@cf/openai/whisper".into())).build();
        let super::Body { length, content_type, .. } = super::body(&upload, &one);
        let sent: Vec<Bytes> = read(upload.file.clone(), as_json(&upload)).try_collect().await.unwrap();
        let sent = sent.concat();
        assert_eq!((sent.len() as u64, content_type.as_str()), (length, "application/json"));
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert!(BASE64.decode(sent["audio"].as_str().unwrap().as_bytes()).unwrap() == recording);
        assert_eq!(
            (&sent["task"], &sent["language"], &sent["initial_prompt"]),
            (&"transcribe".into(), &"en".into(), &"Ann \"A\"".into())
        );
        let answer = r#"{"result":{"text":" hi","segments":[{"start":0,"end":2.5,"text":" hi","words":[]}],"transcription_info":{"language":"en","duration":2.5}},"success":true,"errors":[]}"#;
        let read = read_transcript(answer, &upload).unwrap();
        assert_eq!((read.seconds, read.is_empty), (Some(2.5), false));
        let json: Value = serde_json::from_slice(&read.json).unwrap();
        assert_eq!(
            (&json["text"], &json["segments"][0]["end"], &json["duration"]),
            (&" hi".into(), &2.5.into(), &2.5.into())
        );
    }

    #[test]
    fn transcripts_of_each_form_are_read() {
        let read = |text: &str, form| read_transcript(text, &upload(b"abc", 0..0, Vec::new(), form));
        let verbose = read(r#"{"text":" hi","duration":12.25,"segments":[]}"#, TranscriptForm::Srt).unwrap();
        assert_eq!((verbose.seconds, verbose.is_empty), (Some(12.25), false));
        let mistral = read(r#"{"text":"","usage":{"prompt_audio_seconds":9}}"#, TranscriptForm::Json).unwrap();
        assert_eq!((mistral.seconds, mistral.is_empty), (Some(9.0), true));
        assert_eq!(read("plain words\n", TranscriptForm::Text).unwrap().json, r#"{"text":"plain words"}"#);
        assert!(matches!(read("plain words\n", TranscriptForm::Vtt), Err(Unusable::Malformed(_))));
        for wrong in ["<html>no</html>", "data: {\"text\":\"a\"}\n\n"] {
            assert!(matches!(read(wrong, TranscriptForm::Text), Err(Unusable::Malformed(_))), "{wrong}");
        }
        assert_eq!(read(r#"{"error":{"message":"no"}}"#, TranscriptForm::Json), Err(Unusable::Error));
        assert_eq!(read(r#"{"text":"hi","duration":1e9}"#, TranscriptForm::Json).unwrap().seconds, None);
    }
}
