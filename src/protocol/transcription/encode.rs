//! Writes a transcript in the form that the client requested.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::domain::TranscriptForm;

/// The body of an answer, and its content type.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: Bytes,
}

#[derive(Deserialize)]
struct Transcript {
    #[serde(default)]
    text: String,
    #[serde(default)]
    segments: Vec<Segment>,
    duration: Option<f64>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Segment {
    start: f64,
    end: f64,
    #[serde(default)]
    text: String,
}

/// The answer made of a provider's transcript, which is an object of JSON.
pub fn encode(transcript: &RawValue, form: TranscriptForm, stream: bool) -> Result<Answer, serde_json::Error> {
    let read: Transcript = serde_json::from_str(transcript.get())?;
    if stream {
        return Ok(Answer { content_type: "text/event-stream", body: events(&read).into() });
    }
    let (content_type, body) = match form {
        TranscriptForm::VerboseJson => ("application/json", transcript.get().to_owned()),
        TranscriptForm::Json => {
            let mut body = json!({ "text": read.text });
            if let Some(usage) = usage(&read) {
                body["usage"] = usage;
            }
            ("application/json", body.to_string())
        }
        TranscriptForm::Text => ("text/plain; charset=utf-8", format!("{}\n", read.text.trim())),
        TranscriptForm::Srt => ("text/plain; charset=utf-8", subtitles(&read.segments, ',', "")),
        TranscriptForm::Vtt => ("text/vtt; charset=utf-8", subtitles(&read.segments, '.', "WEBVTT\n\n")),
    };
    Ok(Answer { content_type, body: body.into() })
}

/// Seconds of the recording, as OpenAI writes them, or what the provider counted.
fn usage(read: &Transcript) -> Option<Value> {
    let seconds = read.duration.map(|seconds| json!({ "type": "duration", "seconds": seconds.ceil() }));
    read.usage.clone().or(seconds)
}

/// One delta for each segment, and the whole text.
fn events(read: &Transcript) -> String {
    let whole = [Segment { start: 0.0, end: 0.0, text: read.text.clone() }];
    let segments = if read.segments.is_empty() { &whole[..] } else { &read.segments };
    let mut out = String::new();
    for segment in segments.iter().filter(|segment| !segment.text.is_empty()) {
        push(&mut out, &json!({ "type": "transcript.text.delta", "delta": segment.text }));
    }
    let mut done = json!({ "type": "transcript.text.done", "text": read.text });
    if let Some(usage) = usage(read) {
        done["usage"] = usage;
    }
    push(&mut out, &done);
    out
}

fn push(out: &mut String, event: &Value) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "data: {event}\n\n");
}

fn subtitles(segments: &[Segment], point: char, head: &str) -> String {
    let mut out = head.to_owned();
    for (number, segment) in segments.iter().enumerate() {
        if head.is_empty() {
            let _ = writeln!(out, "{}", number + 1);
        }
        let (start, end) = (clock(segment.start, point), clock(segment.end, point));
        let _ = write!(out, "{start} --> {end}\n{}\n\n", segment.text.trim());
    }
    out
}

/// `01:02:03,456`
fn clock(seconds: f64, point: char) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let ms = (seconds.max(0.0) * 1_000.0).round() as u64;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{point}{:03}", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBOSE: &str = r#"{"task":"transcribe","duration":7.5,"text":" One. Two.","segments":[{"id":0,"start":0.0,"end":3.25,"text":" One."},{"id":1,"start":3.25,"end":3723.5,"text":" Two."}]}"#;

    fn written(form: TranscriptForm, stream: bool) -> (&'static str, String) {
        let raw: Box<RawValue> = serde_json::from_str(VERBOSE).unwrap();
        let answer = encode(&raw, form, stream).unwrap();
        (answer.content_type, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[test]
    fn every_form_is_made_of_one_transcript() {
        assert_eq!(written(TranscriptForm::VerboseJson, false).1, VERBOSE);
        let json = r#"{"text":" One. Two.","usage":{"seconds":8.0,"type":"duration"}}"#;
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(&written(TranscriptForm::Json, false).1), value(json));
        assert_eq!(written(TranscriptForm::Text, false).1, "One. Two.\n");
        let srt = "1\n00:00:00,000 --> 00:00:03,250\nOne.\n\n2\n00:00:03,250 --> 01:02:03,500\nTwo.\n\n";
        assert_eq!(written(TranscriptForm::Srt, false).1, srt);
        let vtt = "WEBVTT\n\n00:00:00.000 --> 00:00:03.250\nOne.\n\n00:00:03.250 --> 01:02:03.500\nTwo.\n\n";
        assert_eq!(written(TranscriptForm::Vtt, false), ("text/vtt; charset=utf-8", vtt.to_owned()));
        let (kind, events) = written(TranscriptForm::Json, true);
        assert_eq!((kind, events.matches("transcript.text.delta").count()), ("text/event-stream", 2));
        assert!(events.contains(r#""text":" One. Two.","type":"transcript.text.done""#), "{events}");
    }
}
