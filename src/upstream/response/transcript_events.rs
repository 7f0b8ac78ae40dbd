//! Transcripts that come in pieces, as the chunks of a chat: OpenAI's events, and Mistral's. Chunks of a chat, which some servers send,
//! stay as they are.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

/// Longer recordings than this are damage.
const MAX_SECONDS: f64 = 1e6;

/// What is known of a transcript so far.
#[derive(Debug, Default)]
pub(super) struct TranscriptReader {
    has_text: bool,
    seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// OpenAI's name of a piece.
    delta: Option<String>,
    /// Mistral's name of a piece, and the whole text at the end.
    text: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    seconds: Option<f64>,
    prompt_audio_seconds: Option<f64>,
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<i64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<i64>,
}

impl TranscriptReader {
    /// An event as a chunk of a chat; `{}` for one that has no text.
    pub(super) fn as_chat<'t>(&mut self, data: Cow<'t, str>) -> Cow<'t, str> {
        let Ok(event) = serde_json::from_str::<Event>(&data) else { return data };
        let chunk = match event.kind.as_deref() {
            Some("transcript.text.delta" | "transcription.text.delta") => {
                let text = event.delta.or(event.text).unwrap_or_default();
                self.has_text |= !text.is_empty();
                json!({ "choices": [{ "index": 0, "delta": { "content": text } }] })
            }
            Some("transcript.text.done" | "transcription.done") => self.last(event),
            Some(kind) if kind.starts_with("transcript") => json!({}),
            _ => return data,
        };
        Cow::Owned(chunk.to_string())
    }

    /// The end, which has the text where no piece came before.
    fn last(&mut self, event: Event) -> Value {
        let text = event.text.filter(|_| !self.has_text).unwrap_or_default();
        let mut chunk = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": "stop" }] });
        if let Some(usage) = event.usage {
            let seconds = usage.seconds.or(usage.prompt_audio_seconds);
            self.seconds = seconds.filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
            if let Some(input) = usage.prompt_tokens {
                let output = usage.completion_tokens.unwrap_or(0);
                chunk["usage"] = json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output) });
            }
        }
        chunk
    }

    /// Seconds of sound that the provider has counted.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut TranscriptReader, data: &str) -> Value {
        serde_json::from_str(&reader.as_chat(data.into())).unwrap()
    }

    #[test]
    fn events_of_openai_and_of_mistral_become_chunks() {
        for [delta, done] in [
            [
                r#"{"type":"transcript.text.delta","delta":"hi "}"#,
                r#"{"type":"transcript.text.done","text":"hi there","usage":{"type":"duration","seconds":7}}"#,
            ],
            [
                r#"{"type":"transcription.text.delta","text":"hi "}"#,
                r#"{"type":"transcription.done","text":"hi there","usage":{"prompt_audio_seconds":7,"prompt_tokens":3,"completion_tokens":2}}"#,
            ],
        ] {
            let mut reader = TranscriptReader::default();
            assert_eq!(read(&mut reader, r#"{"type":"transcription.language","audio_language":"en"}"#), json!({}));
            assert_eq!(read(&mut reader, delta)["choices"][0]["delta"]["content"], "hi ");
            let last = read(&mut reader, done);
            assert_eq!(
                (&last["choices"][0]["delta"]["content"], &last["choices"][0]["finish_reason"]),
                (&json!(""), &json!("stop"))
            );
            assert_eq!(reader.seconds(), Some(7.0));
            let alone = read(&mut TranscriptReader::default(), done);
            assert_eq!(alone["choices"][0]["delta"]["content"], "hi there", "nothing came before");
        }
    }

    #[test]
    fn chunks_of_a_chat_and_errors_stay() {
        for same in [
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"error":{"message":"no"}}"#,
            "[DONE]",
            r#"{"type":"error"}"#,
        ] {
            assert!(
                matches!(TranscriptReader::default().as_chat(same.into()), Cow::Borrowed(text) if text == same),
                "{same}"
            );
        }
    }
}
