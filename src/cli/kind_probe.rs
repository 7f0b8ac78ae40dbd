//! One small request to each kind of model, for `tollfree check --live`.

use std::{io::Write, sync::Arc, time::Duration};

use crate::{
    catalog::Catalog,
    domain::{Candidate, Capabilities, ChatRequest, Limit, ModelKind, provider::Status},
    protocol::{
        chat, completions, embeddings, moderations, rerank,
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

/// A kind, and the model to try it with.
#[derive(Debug)]
pub(super) struct KindToTry {
    kind: ModelKind,
    candidate: Arc<Candidate>,
}

/// The first model of each kind that a key of a provider serves; models that are sure to be on its plan come before others.
/// A model that chats and fills in the middle is tried as both.
pub(super) fn kinds_of(catalog: &Catalog, provider: &str, key_id: &str) -> Vec<KindToTry> {
    let is_of_key =
        |c: &&Arc<Candidate>| *c.provider.id == *provider && (*c.key.id == *key_id || c.key.secret.is_none());
    let mut of_key: Vec<&Arc<Candidate>> = catalog.candidates.iter().filter(is_of_key).collect();
    of_key.sort_by_key(|candidate| candidate.model.status != Status::Active);
    let mut first: Vec<KindToTry> = Vec::new();
    for candidate in of_key {
        let fills_in = candidate.model.capabilities.has(Capabilities::FIM).then_some(ModelKind::Completion);
        for kind in std::iter::once(candidate.model.kind).chain(fills_in) {
            if first.iter().all(|known| known.kind != kind) {
                first.push(KindToTry { kind, candidate: candidate.clone() });
            }
        }
    }
    first
}

/// Calls the model of each kind with the smallest request of that kind, one after another, because some providers count seconds.
pub(super) async fn probe(upstream: &Upstream, kinds: &[KindToTry]) -> Vec<KindResult> {
    let mut results = Vec::new();
    for KindToTry { kind, candidate } in kinds {
        tokio::time::sleep(pause(candidate)).await;
        let error = match smallest(*kind, candidate) {
            Some(request) => upstream.attempt(candidate, &request).await.err().map(|fault| fault.message),
            None => Some("the request cannot be made".to_owned()),
        };
        results.push(KindResult { kind: kind.as_str(), model: candidate.model.id.to_string(), error });
    }
    results
}

/// Time after an earlier request at which the provider's limit per second has room again.
fn pause(candidate: &Candidate) -> Duration {
    let of_seconds = candidate.windows.iter().filter(|window| window.limit == Limit::Rps);
    let longest_ms = of_seconds.map(|window| window.span_ms / window.max + SLACK_MS).max().unwrap_or(0);
    Duration::from_millis(longest_ms.unsigned_abs())
}

/// Requests take different times to their provider.
const SLACK_MS: i64 = 250;

fn smallest(kind: ModelKind, candidate: &Candidate) -> Option<ChatRequest> {
    match kind {
        ModelKind::Chat => {
            let body = r#"{"model":"m","messages":[{"role":"user","content":"test"}],"max_tokens":16}"#;
            chat::decode(body.into()).ok()
        }
        ModelKind::Completion => {
            let has_suffix = candidate.model.capabilities.has(Capabilities::FIM);
            let suffix = if has_suffix { r#","suffix":"end""# } else { "" };
            let body = format!(r#"{{"model":"m","prompt":"test","max_tokens":16{suffix}}}"#);
            Some(completions::decode(body.into(), completions::Form::Text).ok()?.request)
        }
        ModelKind::Embedding => {
            Some(embeddings::decode(r#"{"model":"m","input":"test"}"#.into()).ok()?.part(0..1, None))
        }
        ModelKind::Rerank => {
            Some(rerank::decode(r#"{"model":"m","query":"test","documents":["test"]}"#.into()).ok()?.request)
        }
        ModelKind::Moderation => moderations::decode(r#"{"model":"m","input":"test"}"#.into()).ok(),
        ModelKind::Transcription => silence(),
        ModelKind::Other => None,
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
    use crate::plan::test_support::candidate;

    #[test]
    fn every_kind_that_is_served_has_a_request() {
        let codestral = candidate("mistral/codestral").can(Capabilities::FIM).build();
        for (name, kind) in ModelKind::NAMES.into_iter().filter(|(_, kind)| kind.is_served()) {
            let request = smallest(kind, &codestral).unwrap_or_else(|| panic!("no request for {name}"));
            assert_eq!(request.kind, kind);
        }
        let has_suffix = |candidate: &Candidate| {
            smallest(ModelKind::Completion, candidate).unwrap().completion.unwrap().suffix.is_some()
        };
        assert!(has_suffix(&codestral) && !has_suffix(&candidate("lab/m").build()));
        let seconds = smallest(ModelKind::Transcription, &codestral).unwrap().upload.unwrap().seconds;
        assert!((seconds - 1.0).abs() < 1e-6, "{seconds}");
    }

    #[test]
    fn a_model_that_fills_in_is_tried_as_both_and_one_that_is_sure_to_be_served_first() {
        let gated = candidate("mistral/new").model(|m| m.status = Status::Gated).build();
        let (large, codestral) =
            (candidate("mistral/large").build(), candidate("mistral/code").can(Capabilities::FIM).build());
        let catalog = Catalog { candidates: vec![gated, large, codestral], ..Catalog::default() };
        let kinds = kinds_of(&catalog, "mistral", "any");
        let found: Vec<_> = kinds.iter().map(|found| (found.kind, &*found.candidate.model.id)).collect();
        assert_eq!(found, [(ModelKind::Chat, "large"), (ModelKind::Completion, "code")]);
        assert!(kinds_of(&catalog, "groq", "any").is_empty());
    }
}
