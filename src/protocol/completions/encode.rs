//! Writes the chunks of a chat completion as OpenAI's text completions.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::protocol::{
    chat::{Chunk, ChunkUsage},
    encoder::{Encoder, ReplyInfo},
    failure::Failure,
};

/// The state of one answer.
#[derive(Debug)]
pub struct CompletionEncoder {
    id: String,
    created: i64,
    model: String,
    /// The prompt, until it has been written before the first text.
    echo: Option<String>,
}

impl CompletionEncoder {
    pub(super) fn new(echo: Option<String>) -> Self {
        let id = format!("cmpl-{}", uuid::Uuid::new_v4().simple());
        Self { id, created: Timestamp::now().as_second(), model: String::new(), echo }
    }

    fn object(&self, choices: &[Value], usage: Option<&ChunkUsage>) -> Value {
        let mut object = json!({
            "id": self.id, "object": "text_completion", "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            let (input, output) = (usage.prompt_tokens, usage.output_tokens());
            object["usage"] =
                json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
        }
        object
    }

    /// The choices of a chunk. A chunk without text, such as one of reasoning, has none unless it ends a choice.
    fn choices(&mut self, chunk: Chunk, whole: bool) -> Vec<Value> {
        let echo = if whole { self.echo.clone() } else { self.echo.take().filter(|_| !chunk.choices.is_empty()) };
        let mut choices = Vec::new();
        for choice in chunk.choices {
            let text = choice.delta.content.or(choice.delta.refusal).unwrap_or_default();
            let text = format!("{}{text}", echo.as_deref().unwrap_or_default());
            if whole || !text.is_empty() || choice.finish_reason.is_some() {
                choices.push(json!({
                    "index": choice.index, "text": text, "logprobs": null, "finish_reason": choice.finish_reason,
                }));
            }
        }
        choices
    }
}

impl Encoder for CompletionEncoder {
    fn begin(&mut self, reply: &ReplyInfo, _: &mut Vec<u8>) {
        self.model = reply.model.to_string();
    }

    fn chunk(&mut self, mut chunk: Chunk, out: &mut Vec<u8>) {
        let usage = chunk.usage.take();
        let choices = self.choices(chunk, false);
        if !choices.is_empty() || usage.is_some() {
            event(&self.object(&choices, usage.as_ref()), out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        let Failure { message, kind, param, code, .. } = failure;
        event(&json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }), out);
    }

    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": keep-alive\n\n");
    }

    fn whole(&mut self, reply: &ReplyInfo, mut completion: Chunk) -> Vec<u8> {
        self.model = reply.model.to_string();
        let usage = completion.usage.take();
        let choices = self.choices(completion, true);
        serde_json::to_vec(&self.object(&choices, usage.as_ref())).unwrap_or_default()
    }
}

fn event(data: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(json: &str) -> Chunk {
        Chunk::read(json.as_bytes()).unwrap()
    }

    fn written(encoder: &mut CompletionEncoder, json: &str) -> Option<Value> {
        let mut out = Vec::new();
        encoder.chunk(chunk(json), &mut out);
        let text = String::from_utf8(out).unwrap();
        (!text.is_empty()).then(|| serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap())
    }

    #[test]
    fn chunks_have_texts_and_the_prompt_comes_first_where_it_is_wanted() {
        let mut encoder = CompletionEncoder::new(Some("def ".to_owned()));
        encoder.begin(&ReplyInfo { model: "p/m".into(), prompt_tokens: 1 }, &mut Vec::new());
        let first =
            written(&mut encoder, r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"f"}}]}"#).unwrap();
        assert_eq!((&first["choices"][0]["text"], &first["object"]), (&json!("def f"), &json!("text_completion")));
        assert_eq!((&first["model"], &first["choices"][0]["finish_reason"]), (&json!("p/m"), &Value::Null));
        assert_eq!(written(&mut encoder, r#"{"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}"#), None);
        let last = written(&mut encoder, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#).unwrap();
        assert_eq!((&last["choices"][0]["text"], &last["choices"][0]["finish_reason"]), (&json!(""), &json!("stop")));
        let usage =
            written(&mut encoder, r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#).unwrap();
        assert_eq!((&usage["usage"]["total_tokens"], &usage["choices"]), (&json!(7), &json!([])));
    }

    #[test]
    fn a_whole_answer_has_the_same_form() {
        let mut encoder = CompletionEncoder::new(None);
        let body = r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let whole = encoder.whole(&ReplyInfo { model: "p/m".into(), prompt_tokens: 1 }, chunk(body));
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let choice = json!({ "index": 0, "text": "x", "logprobs": null, "finish_reason": "length" });
        assert_eq!((&whole["choices"], &whole["usage"]["total_tokens"]), (&json!([choice]), &json!(7)));
    }
}
