//! One small request to each kind of model that does not chat, for `tollfree check --live`.

use std::{io::Write, sync::Arc};

use crate::{
    catalog::Catalog,
    domain::{Candidate, ChatRequest, ModelKind},
    protocol::{
        embeddings, moderations, rerank,
        transcription::{self, Task},
    },
    upstream::Upstream,
};

/// A kind, the model that was tried, and why it does not work.
#[derive(Debug)]
pub(super) struct KindResult {
    pub kind: &'static str,
    pub model: String,
    pub error: Option<String>,
}

/// The first model of each kind that a key of a provider serves. Chat models are known to work where the list of models can be
/// read.
pub(super) fn candidates(catalog: &Catalog, provider: &str, key_id: &str) -> Vec<Arc<Candidate>> {
    let is_of_key =
        |c: &&Arc<Candidate>| *c.provider.id == *provider && (*c.key.id == *key_id || c.key.secret.is_none());
    let mut first: Vec<Arc<Candidate>> = Vec::new();
    for candidate in catalog.candidates.iter().filter(is_of_key) {
        let kind = candidate.model.kind;
        if !matches!(kind, ModelKind::Chat | ModelKind::Completion)
            && first.iter().all(|known| known.model.kind != kind)
        {
            first.push(candidate.clone());
        }
    }
    first
}

/// Calls one model with the smallest request of its kind.
pub(super) async fn probe(upstream: &Upstream, candidate: &Arc<Candidate>) -> KindResult {
    let kind = candidate.model.kind;
    let error = match smallest(kind) {
        Some(request) => upstream.attempt(candidate, &request).await.err().map(|fault| fault.message),
        None => Some("the request cannot be made".to_owned()),
    };
    KindResult { kind: kind.as_str(), model: candidate.model.id.to_string(), error }
}

fn smallest(kind: ModelKind) -> Option<ChatRequest> {
    match kind {
        ModelKind::Embedding => {
            Some(embeddings::decode(r#"{"model":"m","input":"test"}"#.into()).ok()?.part(0..1, None))
        }
        ModelKind::Rerank => {
            Some(rerank::decode(r#"{"model":"m","query":"test","documents":["test"]}"#.into()).ok()?.request)
        }
        ModelKind::Moderation => moderations::decode(r#"{"model":"m","input":"test"}"#.into()).ok(),
        ModelKind::Transcription => silence(),
        ModelKind::Chat | ModelKind::Completion | ModelKind::Other => None,
    }
}

/// A second of silence.
fn silence() -> Option<ChatRequest> {
    let mut wav =
        b"RIFF\xA4\x3E\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1F\0\0\x80\x3E\0\0\x02\0\x10\0data\x80\x3E\0\0".to_vec();
    wav.resize(wav.len() + 16_000, 0);
    let field = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"");
    let mut form =
        format!("{}\r\n\r\nm\r\n{}; filename=\"test.wav\"\r\n\r\n", field("model"), field("file")).into_bytes();
    form.extend(wav);
    form.extend(b"\r\n--b--\r\n");
    let mut file = tempfile::tempfile().ok()?;
    file.write_all(&form).ok()?;
    let read = transcription::decode(file, form.len() as u64, "multipart/form-data; boundary=b", Task::Transcribe);
    Some(read.ok()?.ok()?.request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_served_without_a_chat_has_a_request() {
        let kinds = ModelKind::NAMES.map(|(_, kind)| kind);
        let probed = kinds.into_iter().filter(|kind| smallest(*kind).is_some_and(|request| request.kind == *kind));
        let expected = [ModelKind::Embedding, ModelKind::Rerank, ModelKind::Moderation, ModelKind::Transcription];
        assert_eq!(probed.collect::<Vec<_>>(), expected);
        let seconds = smallest(ModelKind::Transcription).unwrap().upload.unwrap().seconds;
        assert!((seconds - 1.0).abs() < 1e-6, "{seconds}");
    }
}
