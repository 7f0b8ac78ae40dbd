//! The smallest request of each protocol, and how its answers are recognised.

use serde_json::{Value, json};

/// A protocol that callers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Chat,
    Messages,
    Responses,
}

impl Wire {
    pub(super) const ALL: [Self; 3] = [Self::Chat, Self::Messages, Self::Responses];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    /// The smallest request.
    pub(super) fn body(self, stream: bool) -> String {
        let model = if stream { "bench-stream" } else { "bench" };
        let messages = json!([{ "role": "user", "content": "hi" }]);
        let body: Value = match self {
            Self::Chat | Self::Messages => {
                json!({ "model": model, "stream": stream, "messages": messages, "max_tokens": 16 })
            }
            Self::Responses => json!({ "model": model, "stream": stream, "input": "hi", "max_output_tokens": 16 }),
        };
        body.to_string()
    }

    /// Stands in every event with content.
    pub(super) fn content(self) -> &'static [u8] {
        match self {
            Self::Chat => b"\"content\":\"",
            Self::Messages => b"\"text_delta\"",
            Self::Responses => b"response.output_text.delta",
        }
    }

    /// Stands in the last event of a whole stream.
    pub(super) fn end(self) -> &'static [u8] {
        match self {
            Self::Chat => b"[DONE]",
            Self::Messages => b"message_stop",
            Self::Responses => b"response.completed",
        }
    }
}
