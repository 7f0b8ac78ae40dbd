//! What a client protocol is to the rest of the house: a reader of requests, and a writer of answers.

use std::{sync::Arc, time::Duration};

use super::{chat::Chunk, failure::Failure};
use crate::domain::ChatRequest;

/// The protocols of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OpenAI's chat completions, whose answers pass byte for byte.
    #[default]
    Chat,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's completions of a prompt.
    Completions,
    /// Mistral's completions between a prompt and a suffix.
    Fim,
    /// Ranking of documents, as at Cohere and Jina.
    Rerank,
    /// OpenAI's moderations.
    Moderations,
    /// OpenAI's transcriptions and translations of recordings.
    Transcriptions,
}

impl Protocol {
    /// The name in the journal, in metrics and in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Completions => "completions",
            Self::Fim => "fim",
            Self::Rerank => "rerank",
            Self::Moderations => "moderations",
            Self::Transcriptions => "transcriptions",
        }
    }
}

/// A request of some protocol, read.
pub struct Decoded {
    /// The request as a chat completion.
    pub request: ChatRequest,
    /// Writes the answer. `None`: the answer of a chat completion passes as it is.
    pub encoder: Option<Box<dyn Encoder>>,
    /// Parts of the request that cannot be served and were left out, for a response header.
    pub dropped: Vec<String>,
}

impl Decoded {
    /// A chat completion, whose answer needs no encoder.
    pub fn chat(request: ChatRequest) -> Self {
        Self { request, encoder: None, dropped: Vec::new() }
    }
}

/// What is known of an answer before its first chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyInfo {
    /// `provider/model` of the candidate that answers.
    pub model: Arc<str>,
    /// Estimated tokens of the prompt, until the provider has counted them.
    pub prompt_tokens: i64,
}

/// Writes the answer to one request. Streamed answers are whole server-sent events appended to `out`.
pub trait Encoder: Send {
    /// The answer begins; called once, before its first chunk.
    fn begin(&mut self, reply: &ReplyInfo, out: &mut Vec<u8>);

    /// One chunk of the provider's answer. The last one may hold nothing but the usage.
    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<u8>);

    /// The answer is complete.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// The request failed after its status was sent, before or after the answer began. Nothing follows.
    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>);

    /// Something that keeps a silent connection open, before or after the answer began.
    fn keep_alive(&mut self, out: &mut Vec<u8>);

    /// The body of an answer that is not streamed.
    fn whole(&mut self, reply: &ReplyInfo, completion: Chunk) -> Vec<u8>;

    /// Bytes of the answer that are kept until its end, because its last event repeats them.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// How long a stream without content is kept back, so that a failure can still have its own status.
    fn hold(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Whether a failure of a streamed request is sent inside a 200, because its client handles it better there.
    fn refuses_in_stream(&self, _failure: &Failure) -> bool {
        false
    }
}
