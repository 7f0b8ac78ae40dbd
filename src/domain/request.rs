//! What of a chat request matters to routing. The body itself stays as the caller's bytes.

use bytes::Bytes;

use super::{provider::Capabilities, tier::Tier};

#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Exactly what the caller sent: valid UTF-8, one JSON object, depth-bounded.
    pub body: Bytes,
    pub model: String,
    pub stream: bool,
    /// `stream_options.include_usage`: the caller wants the usage chunk.
    pub include_usage: bool,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<i64>,
    /// Answers asked for; at least 1.
    pub n: u32,
    pub needs: Capabilities,
    /// Any image given by an http(s) URL rather than inline.
    pub remote_images: bool,
    pub images: u32,
    pub tools: u32,
    pub stops: u32,
    pub reasoning_effort: Option<String>,
    pub sampling: Sampling,
    /// `service_tier`.
    pub tier: Tier,
    /// Names of the top-level parameters in the body whose loss would change the meaning (`logprobs`, `logit_bias`, `tool_choice`, …), as written.
    pub parameters: Vec<String>,
    pub size: PromptSize,
}

/// How the answer is to be drawn. The body says it to the provider; this says it to whoever looks at a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
}

/// What the token estimate is made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptSize {
    pub messages: u32,
    /// ASCII characters of message text.
    pub ascii_chars: u64,
    /// Characters from CJK blocks: about a token each.
    pub cjk_chars: u64,
    /// Every other character.
    pub other_chars: u64,
    /// Bytes of tool schemas and response formats.
    pub schema_chars: u64,
    pub images: u32,
}
