//! Completions of prompts at endpoints of their own: the body for a provider, and its answers in the form of a chat.

use std::{borrow::Cow, fmt::Write as _};

use bytes::Bytes;

use super::response_reader::ResponseShape;
use crate::{
    domain::CompletionPrompt,
    json::{Json, JsonError, Kind},
    upstream::request_edit::body_patch::BodyPatch,
};

/// The body of a chat with one message, with the prompt in the place of its messages.
pub(in crate::upstream) fn body(chat: Bytes, prompt: &CompletionPrompt) -> Bytes {
    let Ok(text) = std::str::from_utf8(&chat) else { return chat };
    let mut patch = BodyPatch::default();
    let read = Json::new(text).object(|name, json| {
        let start = name.at;
        json.skip()?;
        if name.raw == "messages" {
            let mut members = format!("\"prompt\":{}", prompt.prompt);
            if let Some(suffix) = &prompt.suffix {
                // Writing to a `String` cannot fail.
                let _ = write!(members, ",\"suffix\":{suffix}");
            }
            patch.replace(start..json.at(), members);
        }
        Ok::<_, JsonError>(())
    });
    if read.is_err() { chat } else { patch.apply(text) }
}

/// Writes `choices[].text` as the content of a delta or of a message. Everything else stays as it is, and so does a JSON that
/// cannot be read.
pub(in crate::upstream) fn as_chat(text: Cow<'_, str>, shape: ResponseShape) -> Cow<'_, str> {
    let mut patch = BodyPatch::default();
    let read = Json::new(&text).object(|name, json| {
        if name.raw != "choices" || json.peek()? != Kind::Array {
            return json.skip();
        }
        json.array(|_, json| {
            if json.peek()? != Kind::Object {
                return json.skip();
            }
            json.object(|name, json| {
                let kind = json.peek()?;
                let value_at = json.at();
                json.skip()?;
                if name.raw == "text" && kind == Kind::String {
                    let content = &json.text()[value_at..json.at()];
                    let member = match shape {
                        ResponseShape::Chunk => format!("\"delta\":{{\"content\":{content}}}"),
                        ResponseShape::Whole => format!("\"message\":{{\"role\":\"assistant\",\"content\":{content}}}"),
                    };
                    patch.replace(name.at..json.at(), member);
                } else if name.raw == "logprobs" && kind == Kind::Object {
                    // The form of a chat's differs.
                    patch.replace(value_at..json.at(), "null");
                }
                Ok::<_, JsonError>(())
            })
        })
    });
    if read.is_err() || patch.is_empty() {
        return text;
    }
    Cow::Owned(String::from_utf8_lossy(&patch.apply(&text)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_contents_and_all_else_stays() {
        let chunk =
            r#"{"id":"c","choices":[{"index":0,"text":"a\"b","logprobs":{"x":1},"finish_reason":null}],"usage":null}"#;
        let expected = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a\"b"},"logprobs":null,"finish_reason":null}],"usage":null}"#;
        assert_eq!(as_chat(chunk.into(), ResponseShape::Chunk), expected);
        let whole = as_chat(r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#.into(), ResponseShape::Whole);
        assert_eq!(whole, r#"{"choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#);
        for same in [r#"{"choices":[{"delta":{"content":"a"}}]}"#, r#"{"choices":[7],"#, "[DONE]", r#"{"error":{}}"#] {
            assert!(matches!(as_chat(same.into(), ResponseShape::Chunk), Cow::Borrowed(text) if text == same));
        }
    }

    #[test]
    fn the_messages_give_way_to_the_prompt() {
        let chat = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"p"}],"max_tokens":7}"#);
        let prompt =
            |suffix: Option<&str>| CompletionPrompt { prompt: "\"p\"".into(), suffix: suffix.map(str::to_owned) };
        assert_eq!(body(chat.clone(), &prompt(None)), r#"{"model":"m","prompt":"p","max_tokens":7}"#);
        assert_eq!(body(chat, &prompt(Some("\"s\""))), r#"{"model":"m","prompt":"p","suffix":"s","max_tokens":7}"#);
    }
}
