//! Reads a completion request as a chat with one message. Models with an endpoint for completions get the prompt as it is.

use std::fmt::Write as _;

use bytes::Bytes;

use super::encode::CompletionEncoder;
use crate::{
    domain::{Capabilities, CompletionPrompt, ModelKind},
    json::Kind,
    protocol::{
        chat::{self, BadRequest, measure},
        encoder::Decoded,
        json_view::{self, Members, flag, missing, wrong},
        skip_byte_order_mark,
    },
};

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenAI's: `choices[].text`.
    Text,
    /// Mistral's: that of a chat completion.
    Chat,
}

/// Parameters that are read here and do not belong in a chat.
const OWN: [&str; 6] = ["prompt", "suffix", "echo", "best_of", "logprobs", "model"];

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes, form: Form) -> Result<Decoded, BadRequest> {
    let body = skip_byte_order_mark(body);
    let top = json_view::object(&body, &json_view::PASSED_ON)?.members();
    let model = top.get("model").ok_or_else(|| missing("model"))?;
    if model.kind != Kind::String || model.raw == "\"\"" {
        return Err(wrong("model", "a model's name", model));
    }
    let prompt = prompt(&top)?;
    let suffix = match top.get("suffix") {
        None => None,
        Some(view) if view.kind == Kind::String => Some(view.raw).filter(|raw| *raw != "\"\""),
        Some(view) => return Err(wrong("suffix", "a string", view)),
    };
    let echo = flag(&top, "echo")?;
    refuse_unless(&top, "best_of", &["1"], "Ask for several answers with `n`.")?;
    refuse_unless(&top, "logprobs", &["0", "false"], "No model behind this gateway reports them for completions.")?;
    let mut json = format!("{{\"model\":{},\"messages\":[{{\"role\":\"user\",\"content\":{prompt}}}]", model.raw);
    for (name, view) in top.iter().filter(|(name, _)| !OWN.contains(name)) {
        // Writing to a `String` cannot fail.
        let _ = write!(json, ",{}:{}", serde_json::Value::from(name), view.raw);
    }
    json.push('}');
    let mut request = chat::decode(json.into())?;
    request.kind = ModelKind::Completion;
    if let Some(suffix) = suffix {
        request.needs = request.needs.with(Capabilities::FIM);
        measure(&mut request.size, &suffix[1..suffix.len() - 1]);
    }
    let encoder = (form == Form::Text).then(|| CompletionEncoder::new(echo.then(|| text(prompt))));
    request.completion =
        Some(Box::new(CompletionPrompt { prompt: prompt.to_owned(), suffix: suffix.map(str::to_owned) }));
    let encoder = encoder.map(|encoder| Box::new(encoder) as Box<dyn crate::protocol::Encoder>);
    Ok(Decoded { request, encoder, dropped: Vec::new() })
}

/// The prompt as a JSON string.
fn prompt<'a>(top: &Members<'a>) -> Result<&'a str, BadRequest> {
    let view = top.get("prompt").ok_or_else(|| missing("prompt"))?;
    match view.kind {
        Kind::String => Ok(view.raw),
        Kind::Array => {
            let items = view.items();
            if items.iter().any(|item| item.kind != Kind::String) {
                let message =
                    "`prompt` has tokens: send a text. The models behind this gateway have vocabularies of their own.";
                return Err(BadRequest::invalid("prompt", message));
            }
            let [one] = items[..] else {
                let found = items.len();
                let message = format!("`prompt` has {found} texts; send one per request.");
                return Err(BadRequest::invalid("prompt", message));
            };
            Ok(one.raw)
        }
        _ => Err(wrong("prompt", "a string", view)),
    }
}

fn text(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_default()
}

fn refuse_unless(top: &Members<'_>, name: &str, harmless: &[&str], why: &str) -> Result<(), BadRequest> {
    match top.get(name) {
        Some(view) if !harmless.contains(&view.raw) => {
            Err(BadRequest::invalid(name, format!("`{name}` is not supported. {why}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Decoded, BadRequest> {
        decode(Bytes::copy_from_slice(body.as_bytes()), Form::Text)
    }

    #[test]
    fn a_prompt_becomes_a_chat_and_is_kept_as_it_is() {
        let decoded =
            read(r#"{"prompt":["say \"hi\""],"model":"m","suffix":"","max_tokens":7,"stop":["\n"],"echo":true}"#)
                .unwrap();
        let request = &decoded.request;
        let expected =
            r#"{"model":"m","messages":[{"role":"user","content":"say \"hi\""}],"max_tokens":7,"stop":["\n"]}"#;
        assert_eq!((&request.body[..], request.kind), (expected.as_bytes(), ModelKind::Completion));
        assert_eq!((request.max_tokens, request.needs), (Some(7), Capabilities::default()));
        assert_eq!(request.completion.as_ref().unwrap().suffix, None);
        let fim = read(r#"{"prompt":"def f(","model":"m","suffix":"return 1"}"#).unwrap().request;
        assert!(fim.needs.has(Capabilities::FIM));
        assert_eq!(fim.completion.unwrap().suffix.as_deref(), Some("\"return 1\""));
        assert_eq!(fim.size.ascii_chars, 14);
    }

    #[test]
    fn a_mistake_is_named_by_its_path() {
        for (body, param) in [
            (r#"{"prompt":"a"}"#, "model"),
            (r#"{"model":"m","prompt":"a","Prompt":"b"}"#, "Prompt"),
            (r#"{"model":"m","prompt":"a","su\u0066fix":"b"}"#, "suffix"),
            (r#"{"model":"m","prompt":"a","messages":[]}"#, "messages"),
            (r#"{"model":"m"}"#, "prompt"),
            (r#"{"model":"m","prompt":[1,2]}"#, "prompt"),
            (r#"{"model":"m","prompt":["a","b"]}"#, "prompt"),
            (r#"{"model":"m","prompt":"a","suffix":7}"#, "suffix"),
            (r#"{"model":"m","prompt":"a","logprobs":3}"#, "logprobs"),
            (r#"{"model":"m","prompt":"a","best_of":2}"#, "best_of"),
            (r#"{"model":"m","prompt":"a","max_tokens":-1}"#, "max_tokens"),
        ] {
            assert_eq!(read(body).err().unwrap().param.as_deref(), Some(param), "{body}");
        }
    }
}
