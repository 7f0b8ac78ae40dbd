//! The candidates of the kind that a request needs. Those of an embedding request compute vectors of one space, so that
//! a failover never changes what its vectors can be compared with.

use std::{borrow::Cow, sync::Arc};

use super::PlanError;
use crate::domain::{Candidate, ChatRequest, EmbeddingInputs, ModelKind, VectorSpace, Vectors};

/// The members that serve a request of this kind.
pub(super) fn serving<'a>(
    members: Cow<'a, [Arc<Candidate>]>,
    request: &ChatRequest,
) -> Result<Cow<'a, [Arc<Candidate>]>, PlanError> {
    let is_of_kind = |c: &Arc<Candidate>| serves(c, request.kind);
    let members = if members.iter().all(is_of_kind) {
        members
    } else {
        let some: Vec<_> = members.iter().filter(|c| is_of_kind(c)).cloned().collect();
        if some.is_empty() {
            let other = members.first().map_or(ModelKind::Other, |c| c.model.kind);
            return Err(wrong_kind(other, request));
        }
        Cow::Owned(some)
    };
    match &request.embedding {
        Some(inputs) => of_one_space(&members, inputs, &request.model).map(Cow::Owned),
        None => Ok(members),
    }
}

/// A chat model completes a prompt, too: it gets the prompt as a message. Some moderate texts.
fn serves(candidate: &Candidate, request: ModelKind) -> bool {
    let model = &candidate.model;
    model.kind == request
        || match request {
            ModelKind::Completion => model.kind == ModelKind::Chat,
            ModelKind::Moderation => model.guard.is_some(),
            _ => false,
        }
}

fn wrong_kind(kind: ModelKind, request: &ChatRequest) -> PlanError {
    let (model, kind_name) = (&request.model, kind.as_str());
    let hint = kind.endpoint().map_or_else(String::new, |endpoint| format!(": use `POST {endpoint}`"));
    let article = if kind_name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    let message = format!("The model `{model}` is {article} {kind_name} model{hint}.");
    PlanError::Unsupported { param: "model".to_owned(), message }
}

/// The members that compute vectors of the requested space.
fn of_one_space(
    members: &[Arc<Candidate>],
    inputs: &EmbeddingInputs,
    requested: &str,
) -> Result<Vec<Arc<Candidate>>, PlanError> {
    let space = |c: &Candidate| c.model.vectors.as_ref().and_then(|vectors| vectors.space(inputs.dimensions));
    let mut by_space: Vec<(VectorSpace, Vec<Arc<Candidate>>)> = Vec::new();
    for candidate in members {
        let Some(space) = space(candidate) else { continue };
        match by_space.iter_mut().find(|(known, _)| *known == space) {
            Some((_, same)) => same.push(candidate.clone()),
            None => by_space.push((space, vec![candidate.clone()])),
        }
    }
    if let Some(begun) = &inputs.space {
        by_space.retain(|(space, _)| space == begun);
    }
    if by_space.len() > 1 {
        return Err(ambiguous(&by_space, requested));
    }
    by_space.pop().map(|(_, members)| members).ok_or_else(|| no_such_length(members, inputs, requested))
}

fn ambiguous(by_space: &[(VectorSpace, Vec<Arc<Candidate>>)], requested: &str) -> PlanError {
    let firsts = by_space.iter().filter_map(|(_, members)| members.first());
    let names: Vec<String> = firsts.map(|c| format!("`{}`", c.name)).collect();
    let message = format!(
        "Models of different vectors have the name `{requested}`. Name one of them: {}. Models of the same vectors can be given \
         the same `family` and `dimensions` in the configuration.",
        names.join(", ")
    );
    PlanError::Unsupported { param: "model".to_owned(), message }
}

fn no_such_length(members: &[Arc<Candidate>], inputs: &EmbeddingInputs, requested: &str) -> PlanError {
    let length = inputs.dimensions.unwrap_or_default();
    let lengths = |v: &Vectors| match (v.min_dimensions, v.dimensions) {
        (Some(least), Some(own)) => format!("{least} to {own}"),
        (_, own) => own.unwrap_or_default().to_string(),
    };
    let known = members.iter().find_map(|c| c.model.vectors.as_ref()).map(lengths).unwrap_or_default();
    let message = format!("The vectors of `{requested}` have {known} dimensions, and not {length} (`dimensions`).");
    PlanError::Unsupported { param: "dimensions".to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::test_support::candidate;

    fn embedder(name: &str, family: &str, dimensions: u32, min_dimensions: Option<u32>) -> Arc<Candidate> {
        let vectors = Vectors {
            family: family.into(),
            dimensions: Some(dimensions),
            min_dimensions,
            max_inputs: 96,
            max_batch_tokens: None,
        };
        let kind = ModelKind::Embedding;
        candidate(name).model(|m| (m.kind, m.vectors) = (kind, Some(vectors))).build()
    }

    fn embedding(dimensions: Option<u32>) -> ChatRequest {
        let inputs = EmbeddingInputs { count: 1, dimensions, ..EmbeddingInputs::default() };
        let model = "bge-m3".to_owned();
        ChatRequest { kind: ModelKind::Embedding, model, embedding: Some(Box::new(inputs)), ..ChatRequest::default() }
    }

    fn served(members: &[Arc<Candidate>], request: &ChatRequest) -> Result<Vec<String>, (String, String)> {
        match serving(Cow::Borrowed(members), request) {
            Ok(members) => Ok(members.iter().map(|c| c.name.to_string()).collect()),
            Err(PlanError::Unsupported { param, message }) => Err((param, message)),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_model_of_another_kind_is_refused_with_the_endpoint_that_serves_it() {
        let (chat, embedder) = (candidate("a/chat").build(), embedder("a/bge-m3", "bge-m3", 1_024, None));
        let (param, message) = served(std::slice::from_ref(&embedder), &ChatRequest::default()).unwrap_err();
        assert_eq!(param, "model");
        assert!(message.contains("an embedding model: use `POST /v1/embeddings`"), "{message}");
        let (_, message) = served(std::slice::from_ref(&chat), &embedding(None)).unwrap_err();
        assert!(message.contains("a chat model: use `POST /v1/chat/completions`"), "{message}");
        assert_eq!(served(&[chat, embedder], &embedding(None)).unwrap(), ["a/bge-m3"]);
    }

    #[test]
    fn only_models_of_one_family_and_length_serve_a_request() {
        let same = [embedder("a/bge-m3", "bge-m3", 1_024, None), embedder("b/bge-m3", "bge-m3", 1_024, None)];
        assert_eq!(served(&same, &embedding(None)).unwrap(), ["a/bge-m3", "b/bge-m3"]);
        let (param, message) = served(&same, &embedding(Some(512))).unwrap_err();
        assert!(param == "dimensions" && message.contains("1024 dimensions, and not 512"), "{message}");
        let mixed = [same[0].clone(), embedder("c/bge-m3", "c/bge-m3", 1_024, None)];
        let (param, message) = served(&mixed, &embedding(None)).unwrap_err();
        assert!(param == "model" && message.contains("`a/bge-m3`, `c/bge-m3`"), "{message}");
        let mut begun = embedding(None);
        begun.embedding.as_mut().unwrap().space = mixed[1].model.vectors.as_ref().unwrap().space(None);
        assert_eq!(served(&mixed, &begun).unwrap(), ["c/bge-m3"]);
    }

    #[test]
    fn a_shorter_vector_comes_only_from_models_that_have_it() {
        let (cut, fixed) = (embedder("a/x", "x", 3_072, Some(128)), embedder("b/x", "x", 3_072, None));
        assert_eq!(served(&[fixed, cut], &embedding(Some(768))).unwrap(), ["a/x"]);
    }
}
