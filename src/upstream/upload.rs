//! Sends a recording from its file, and reads the transcript. The file is read in small pieces, as the provider takes them.

use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::Value;

use super::embeddings::Unusable;
use crate::domain::{Candidate, Upload};

const PIECE_BYTES: u64 = 64 << 10;

/// A piece of the body that is sent.
#[derive(Debug, Clone)]
enum Piece {
    /// Bytes of the file: from, to.
    File(u64, u64),
    Text(String),
}

/// The body for a candidate, and its length.
pub(super) fn body(upload: &Upload, candidate: &Candidate) -> (reqwest::Body, u64) {
    let pieces = pieces(upload, candidate);
    let length = pieces.iter().map(|piece| match piece {
        Piece::File(from, to) => to.saturating_sub(*from),
        Piece::Text(text) => text.len() as u64,
    });
    let length = length.sum();
    (reqwest::Body::wrap_stream(read(upload.file.clone(), pieces)), length)
}

/// The file with the changes for a candidate, in order.
fn pieces(upload: &Upload, candidate: &Candidate) -> Vec<Piece> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    for (range, text) in upload.edits_for(&candidate.model.id, candidate.model.states_times) {
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
                Some(Piece::File(from, to)) if from < to => {
                    let end = to.min(from + PIECE_BYTES);
                    if end < to {
                        pieces.push_front(Piece::File(end, to));
                    }
                    let reader = file.clone();
                    // Reading at a position leaves other attempts' positions alone.
                    let bytes = tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
                        reader.read_exact_at(&mut bytes, from).map(|()| Bytes::from(bytes))
                    });
                    let bytes = bytes.await.map_err(std::io::Error::other)??;
                    return Ok(Some((bytes, (file, pieces))));
                }
                Some(Piece::File(..)) => {}
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
}

#[derive(Deserialize)]
struct Usage {
    seconds: Option<f64>,
    /// Mistral's name.
    prompt_audio_seconds: Option<f64>,
}

/// The transcript in a response: an object, or a plain text where the server has ignored the form.
pub(super) fn read_transcript(text: &str, upload: &Upload) -> Result<Transcript, Unusable> {
    if !text.trim_start().starts_with('{') {
        if upload.form.needs_times() {
            return Err(Unusable::Malformed("the transcript has no times".to_owned()));
        }
        let json = serde_json::json!({ "text": text.trim() }).to_string().into();
        return Ok(Transcript { json, is_empty: text.trim().is_empty(), seconds: None });
    }
    let response: Response = serde_json::from_str(text).map_err(|error| Unusable::Malformed(error.to_string()))?;
    let Response { text: spoken, duration, usage, error } = response;
    let Some(spoken) = spoken else {
        let is_error = error.is_some_and(|error| !error.is_null());
        let malformed = || Unusable::Malformed("the response has no `text`".to_owned());
        return Err(if is_error { Unusable::Error } else { malformed() });
    };
    let counted = usage.and_then(|usage| usage.seconds.or(usage.prompt_audio_seconds));
    // Nobody bills a thousand times of what the file can hold.
    let most = upload.seconds.max(upload.recording_bytes as f64) + 60.0;
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
            recording_bytes: body.len() as u64,
            seconds: 7.0,
            form,
            is_translation: false,
        }
    }

    #[tokio::test]
    async fn the_body_is_sent_as_it_came_but_for_its_edits() {
        let body = [b"model=MODEL;form=json;".to_vec(), vec![b'x'; 200_000]].concat();
        let edit = |text: &str, only_verbose| UploadEdit { range: 17..21, text: text.into(), only_verbose };
        let upload = upload(&body, 6..11, vec![edit("verbose_json", true), edit("text", false)], TranscriptForm::Json);
        for (states_times, form) in [(true, "verbose_json"), (false, "text")] {
            let one = candidate("p/whisper-1").model(|m| m.states_times = states_times).build();
            let (_, length) = super::body(&upload, &one);
            let sent: Vec<Bytes> = read(upload.file.clone(), pieces(&upload, &one)).try_collect().await.unwrap();
            let expected = format!("model=whisper-1;form={form};{}", "x".repeat(200_000));
            assert!(sent.concat() == expected.as_bytes(), "{form}");
            assert_eq!(length, expected.len() as u64);
        }
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
        assert_eq!(read(r#"{"error":{"message":"no"}}"#, TranscriptForm::Json), Err(Unusable::Error));
        assert_eq!(read(r#"{"text":"hi","duration":1e9}"#, TranscriptForm::Json).unwrap().seconds, None);
    }
}
