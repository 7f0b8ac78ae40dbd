//! Calls of models that do not chat: what is sent, and what their responses become.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    domain::{Candidate, ChatRequest},
    upstream::{
        embeddings::{self, Unusable},
        guard, judged,
        response::sse_event::TokenUsage,
        upload::{self, Transcript},
    },
};

/// Whether the response has a form of its own, rather than that of a chat.
pub(super) fn has_own_form(request: &ChatRequest) -> bool {
    request.embedding.is_some() || request.ranking.is_some() || request.moderation.is_some() || request.upload.is_some()
}

/// Whether the response is a transcript that comes in pieces.
pub(super) fn streams_transcript(request: &ChatRequest, candidate: &Candidate) -> bool {
    request.upload.as_ref().is_some_and(|upload| upload.is_streamed_by(&candidate.model))
}

/// The body of such a call; empty for a recording, which is sent from its file.
pub(super) fn body(request: &ChatRequest, candidate: &Candidate) -> Option<Bytes> {
    let ranking = || request.ranking.as_deref().map(|inputs| judged::ranking_body(inputs, candidate));
    let moderation = || {
        request.moderation.as_deref().map(|inputs| match candidate.model.guard {
            Some(guard) => guard::body(inputs, guard, candidate),
            None => judged::moderation_body(inputs, candidate),
        })
    };
    let embedding = request.embedding.is_some().then(|| embeddings::body(request, candidate));
    embedding.or_else(ranking).or_else(moderation).or_else(|| request.upload.is_some().then(Bytes::new))
}

/// What a model has computed.
pub(super) struct Computed {
    /// As the flow reads it.
    pub body: Bytes,
    pub usage: Option<TokenUsage>,
    pub is_empty: bool,
    pub audio_seconds: Option<f64>,
}

impl Computed {
    fn new(computed: &impl Serialize, usage: Option<TokenUsage>) -> Self {
        let body = serde_json::to_vec(computed).unwrap_or_default().into();
        Self { body, usage, is_empty: false, audio_seconds: None }
    }
}

/// Reads a whole response.
pub(super) fn read(text: &str, request: &ChatRequest, candidate: &Candidate) -> Result<Computed, Unusable> {
    if let Some(inputs) = request.embedding.as_deref() {
        let (computed, usage) = embeddings::read(text, inputs, candidate)?;
        Ok(Computed::new(&computed, usage))
    } else if let Some(inputs) = request.ranking.as_deref() {
        let (ranking, usage) = judged::read_ranking(text, inputs, request.body.len())?;
        Ok(Computed::new(&ranking, usage))
    } else if let Some(upload) = request.upload.as_deref() {
        let Transcript { json, is_empty, seconds } = upload::read_transcript(text, upload)?;
        Ok(Computed { body: json, usage: None, is_empty, audio_seconds: seconds })
    } else {
        let inputs = request.moderation.as_deref().cloned().unwrap_or_default();
        if let Some(guard) = candidate.model.guard {
            let (moderation, usage) = guard::read(text, &inputs, guard)?;
            return Ok(Computed::new(&moderation, usage));
        }
        Ok(Computed::new(&judged::read_moderation(text, &inputs)?, None))
    }
}
