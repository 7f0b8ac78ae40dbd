//! Writes a transcript as it comes, in OpenAI's events.

use serde_json::{Value, json};

use crate::protocol::{
    chat::{Chunk, ChunkUsage},
    encoder::{Encoder, ReplyInfo},
    failure::Failure,
};

/// The state of one transcript.
#[derive(Debug, Default)]
pub struct TranscriptEncoder {
    text: String,
    usage: Option<ChunkUsage>,
}

impl TranscriptEncoder {
    fn done(&self) -> Value {
        let mut done = json!({ "type": "transcript.text.done", "text": self.text });
        if let Some(usage) = &self.usage {
            let (input, output) = (usage.prompt_tokens, usage.output_tokens());
            done["usage"] = json!({
                "type": "tokens", "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
            });
        }
        done
    }

    fn add(&mut self, chunk: Chunk) -> String {
        self.usage = chunk.usage.or(self.usage.take());
        let text: String = chunk.choices.into_iter().filter_map(|choice| choice.delta.content).collect();
        self.text.push_str(&text);
        text
    }
}

impl Encoder for TranscriptEncoder {
    fn begin(&mut self, _: &ReplyInfo, _: &mut Vec<u8>) {}

    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<u8>) {
        let delta = self.add(chunk);
        if !delta.is_empty() {
            event(&json!({ "type": "transcript.text.delta", "delta": delta }), out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        event(&self.done(), out);
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        let Failure { message, kind, param, code, .. } = failure;
        event(&json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }), out);
    }

    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": keep-alive\n\n");
    }

    fn whole(&mut self, _: &ReplyInfo, completion: Chunk) -> Vec<u8> {
        self.add(completion);
        json!({ "text": self.text }).to_string().into_bytes()
    }
}

fn event(data: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_at_once_and_the_whole_text_at_the_end() {
        let mut encoder = TranscriptEncoder::default();
        let mut written = |chunk: Option<&str>| {
            let mut out = Vec::new();
            match chunk {
                Some(chunk) => encoder.chunk(Chunk::read(chunk.as_bytes()).unwrap(), &mut out),
                None => encoder.finish(&mut out),
            }
            String::from_utf8(out).unwrap()
        };
        let piece = |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
        assert_eq!(written(Some(&piece("hi "))), "data: {\"delta\":\"hi \",\"type\":\"transcript.text.delta\"}\n\n");
        assert!(written(Some(&piece("there"))).contains("\"there\""));
        assert_eq!(written(Some(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#)), "");
        let done = written(None);
        let done: Value = serde_json::from_str(done.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&done["text"], &done["usage"]["total_tokens"]), (&json!("hi there"), &json!(5)));
    }
}
