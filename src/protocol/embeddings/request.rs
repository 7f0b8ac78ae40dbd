//! A request for embeddings, and its parts.

use std::ops::Range;

use bytes::Bytes;

use crate::domain::{ChatRequest, EmbeddingInputs, ModelKind, PromptSize, Tier, VectorSpace};

/// How the client wants its vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON arrays of numbers.
    #[default]
    Float,
    /// Little-endian `f32`, as OpenAI's SDKs request them.
    Base64,
}

/// One text of a request.
#[derive(Debug, Clone)]
pub struct Text {
    /// As a JSON string.
    pub json: Bytes,
    pub size: PromptSize,
}

/// A request, read.
#[derive(Debug, Clone)]
pub struct EmbeddingRequest {
    pub model: String,
    /// Never empty.
    pub texts: Vec<Text>,
    pub dimensions: Option<u32>,
    pub format: Format,
    pub tier: Tier,
    /// Parameters that pass unchanged, with their values as JSON.
    pub parameters: Vec<(String, String)>,
}

impl EmbeddingRequest {
    /// One call for some of the texts. `space`: the space of vectors that the request has begun with.
    pub fn part(&self, range: Range<usize>, space: Option<VectorSpace>) -> ChatRequest {
        let texts = self.texts.get(range).unwrap_or_default();
        let mut json = Vec::with_capacity(2 + texts.iter().map(|text| text.json.len() + 1).sum::<usize>());
        json.push(b'[');
        let (mut size, mut longest) = (PromptSize::default(), PromptSize::default());
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&text.json);
            size.add(&text.size);
            if text.size.raw_tokens() > longest.raw_tokens() {
                longest = text.size;
            }
        }
        json.push(b']');
        let inputs = EmbeddingInputs {
            texts: json.into(),
            count: u32::try_from(texts.len()).unwrap_or(u32::MAX),
            longest,
            dimensions: self.dimensions,
            space,
            parameters: self.parameters.clone(),
        };
        ChatRequest {
            kind: ModelKind::Embedding,
            model: self.model.clone(),
            tier: self.tier,
            size,
            others: self.parameters.iter().map(|(name, _)| name.clone()).collect(),
            embedding: Some(Box::new(inputs)),
            ..ChatRequest::default()
        }
    }

    /// The position of the longest text.
    pub fn longest(&self) -> usize {
        let sizes = self.texts.iter().map(|text| text.size.raw_tokens()).enumerate();
        sizes.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(at, _)| at)
    }
}
