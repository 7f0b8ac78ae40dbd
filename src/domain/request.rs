//! The parts of a request that matter to routing. The body itself stays as the caller's bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    judged::{ModerationInputs, RankingInputs},
    model_kind::ModelKind,
    provider::Capabilities,
    tier::Tier,
    upload::Upload,
    vectors::VectorSpace,
};

/// A chat completion, or one call of another kind.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The kind of model that it needs.
    pub kind: ModelKind,
    /// The body as the caller sent it: valid UTF-8, one JSON object, of bounded depth.
    pub body: Bytes,
    pub model: String,
    /// What the client calls the conversation that the request belongs to: short, and safe to record.
    pub session: Option<String>,
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<i64>,
    /// Number of choices; at least 1.
    pub n: u32,
    pub needs: Capabilities,
    /// Whether an image is given by an http(s) URL rather than inline.
    pub remote_images: bool,
    /// Whether an image or a video is given by the URL of a private address, which only its server could reach.
    pub private_urls: bool,
    pub images: u32,
    pub tools: u32,
    /// Whether one of the tools is run by the provider, such as a web search.
    pub built_in_tools: bool,
    /// Tool calls in the history.
    pub calls: u32,
    pub stops: u32,
    pub reasoning_effort: Option<String>,
    pub sampling: Sampling,
    /// `service_tier`.
    pub tier: Tier,
    /// Top-level parameters in the body that must not be dropped: `logprobs`, `logit_bias`, `tool_choice`, …
    pub parameters: Vec<String>,
    /// Top-level parameters in the body that are not OpenAI's.
    pub others: Vec<String>,
    /// Whether the caller may use what costs money at a provider.
    pub may_cost_money: bool,
    pub size: PromptSize,
    /// The texts of an embedding request.
    pub embedding: Option<Box<EmbeddingInputs>>,
    /// The prompt of a completion, whose body is that of a chat with this prompt.
    pub completion: Option<Box<CompletionPrompt>>,
    /// Documents to be ranked.
    pub ranking: Option<Box<RankingInputs>>,
    /// Texts to be moderated.
    pub moderation: Option<Box<ModerationInputs>>,
    /// A recording to be transcribed.
    pub upload: Option<Arc<Upload>>,
}

/// The prompt of a completion, for models that take it as it is.
#[derive(Debug, Clone)]
pub struct CompletionPrompt {
    /// As a JSON string.
    pub prompt: String,
    /// What follows the completion, as a JSON string.
    pub suffix: Option<String>,
}

/// The texts of one call for embeddings.
#[derive(Debug, Clone, Default)]
pub struct EmbeddingInputs {
    /// The texts as a JSON array.
    pub texts: Bytes,
    pub count: u32,
    /// Of the longest text, which has to fit into the context.
    pub longest: PromptSize,
    /// The requested length of vectors.
    pub dimensions: Option<u32>,
    /// The space of vectors that the request has begun with, once there is one.
    pub space: Option<VectorSpace>,
    /// Parameters that pass unchanged, with their values as JSON.
    pub parameters: Vec<(String, String)>,
}

impl Default for ChatRequest {
    fn default() -> Self {
        Self {
            kind: ModelKind::Chat,
            body: Bytes::new(),
            model: String::new(),
            session: None,
            stream: false,
            include_usage: false,
            max_tokens: None,
            n: 1,
            needs: Capabilities::default(),
            remote_images: false,
            private_urls: false,
            images: 0,
            tools: 0,
            built_in_tools: false,
            calls: 0,
            stops: 0,
            reasoning_effort: None,
            sampling: Sampling::default(),
            tier: Tier::default(),
            parameters: Vec::new(),
            others: Vec::new(),
            may_cost_money: false,
            size: PromptSize::default(),
            embedding: None,
            completion: None,
            ranking: None,
            moderation: None,
            upload: None,
        }
    }
}

impl ChatRequest {
    /// The answer is wanted as it comes: also that to a form, whose field says so.
    pub fn wants_stream(&self) -> bool {
        self.stream || self.upload.as_ref().is_some_and(|upload| upload.stream)
    }
}

/// Sampling parameters, for traces. The provider reads them from the body.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
}

/// Measures from which the token count is estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptSize {
    pub messages: u32,
    /// ASCII characters of message text.
    pub ascii_chars: u64,
    /// Those of them that are digits: many tokenisers take each as a token.
    pub digits: u64,
    /// Those of them that are punctuation or symbols, which stand close in code.
    pub symbols: u64,
    /// Characters from CJK blocks: about a token each.
    pub cjk_chars: u64,
    /// Every other character.
    pub other_chars: u64,
    /// Bytes of tool schemas and response formats.
    pub schema_chars: u64,
    pub images: u32,
}

impl PromptSize {
    /// Adds the measures of another text.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.ascii_chars += other.ascii_chars;
        self.cjk_chars += other.cjk_chars;
        self.other_chars += other.other_chars;
        self.schema_chars += other.schema_chars;
        self.digits += other.digits;
        self.symbols += other.symbols;
        self.images += other.images;
    }

    /// Rough token count without images.
    pub fn raw_tokens(&self) -> f64 {
        self.text_tokens() + self.digit_tokens() + self.schema_tokens()
    }

    /// Rough token count of the messages without their digits. Characters per token: letters and blanks 4, symbols 1.6, CJK 1.25, other
    /// scripts 1.7. The proportions are those of four tokenisers on prompts of coding agents.
    pub fn text_tokens(&self) -> f64 {
        let letters = self.ascii_chars.saturating_sub(self.digits + self.symbols);
        letters as f64 / 4.0
            + self.symbols as f64 / 1.6
            + self.cjk_chars as f64 * 0.8
            + self.other_chars as f64 * 0.6
            + f64::from(self.messages) * 4.0
    }

    /// Rough token count of the digits with what stands between them, at most: some tokenisers take each digit, others three at a time.
    pub fn digit_tokens(&self) -> f64 {
        self.digits as f64 / 0.8
    }

    /// Rough token count of tool schemas and response formats, at most: each model writes them into its prompt in its own way.
    pub fn schema_tokens(&self) -> f64 {
        self.schema_chars as f64 / 2.5
    }
}
