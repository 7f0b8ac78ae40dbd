//! One call for embeddings: the body for a provider, and the vectors in its response.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::response::sse_event::TokenUsage;
use crate::domain::{Candidate, ChatRequest, ComputedVectors, EmbeddingInputs, vector_length};

/// Ends the address of an endpoint that takes `inputs` and returns bare arrays, as Hugging Face's pipelines do.
const PIPELINE: &str = "/pipeline/feature-extraction";

/// The body for this candidate. Numbers are what every provider sends unless something else is requested.
pub(super) fn body(request: &ChatRequest, candidate: &Candidate) -> Bytes {
    let Some(inputs) = request.embedding.as_deref() else { return request.body.clone() };
    let model = &candidate.model;
    let texts = String::from_utf8_lossy(&inputs.texts);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    if is_pipeline(candidate) {
        return format!("{{\"inputs\":{texts}}}").into();
    }
    let mut body = format!("{{\"model\":{},\"input\":{texts}", quoted(&model.id));
    let own = model.vectors.as_ref().and_then(|vectors| vectors.dimensions);
    if let Some(length) = inputs.dimensions.filter(|length| Some(*length) != own) {
        let _ = write!(body, ",{}:{length}", quoted(candidate.provider.wire.renamed("dimensions")));
    }
    let sent = |name: &str| inputs.parameters.iter().any(|(sent, _)| sent == name);
    let defaults = model.default_parameters.iter().filter(|(name, _)| !sent(name));
    for (name, value) in inputs.parameters.iter().chain(defaults) {
        let _ = write!(body, ",{}:{value}", quoted(name));
    }
    body.push('}');
    body.into()
}

fn is_pipeline(candidate: &Candidate) -> bool {
    candidate.model.url.as_ref().is_some_and(|url| url.ends_with(PIPELINE))
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    data: Vec<Item<'a>>,
    usage: Option<Usage>,
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

/// Why a response has no vectors that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The response is an error with the status of a success.
    Error,
    Malformed(String),
}

/// The vectors of a response, in the order of the texts. Each has the length of the request's vector space.
pub(super) fn read(
    text: &str,
    inputs: &EmbeddingInputs,
    candidate: &Candidate,
) -> Result<(ComputedVectors, Option<TokenUsage>), Unusable> {
    let malformed = |why: String| Unusable::Malformed(why);
    if text.trim_start().starts_with('[') {
        let vectors: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        check(vectors.iter().map(AsRef::as_ref), inputs, candidate)?;
        return Ok((ComputedVectors { vectors, prompt_tokens: None }, None));
    }
    let response: Response<'_> = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
    if response.data.is_empty() && response.error.is_some_and(|error| error.get() != "null") {
        return Err(Unusable::Error);
    }
    let count = inputs.count as usize;
    let mut vectors: Vec<Option<&RawValue>> = vec![None; count];
    for (at, item) in response.data.iter().enumerate() {
        let slot = vectors.get_mut(item.index.unwrap_or(at));
        match slot {
            Some(slot @ None) => *slot = Some(item.embedding),
            _ => return Err(malformed(format!("the response has no vector for each of {count} texts"))),
        }
    }
    let Some(vectors) = vectors.into_iter().collect::<Option<Vec<&RawValue>>>() else {
        return Err(malformed(format!("the response has {} vectors for {count} texts", response.data.len())));
    };
    check(vectors.iter().copied(), inputs, candidate)?;
    let usage = response.usage.and_then(|usage| counted(&usage, inputs));
    let vectors = vectors.into_iter().map(ToOwned::to_owned).collect();
    Ok((ComputedVectors { vectors, prompt_tokens: usage.map(|usage| usage.input) }, usage))
}

/// Every vector has the length that the request's space has; of a space whose length is unknown all have the same one.
fn check<'v>(
    vectors: impl ExactSizeIterator<Item = &'v RawValue>,
    inputs: &EmbeddingInputs,
    candidate: &Candidate,
) -> Result<(), Unusable> {
    if vectors.len() != inputs.count as usize {
        return Err(Unusable::Malformed(format!(
            "the response has {} vectors for {} texts",
            vectors.len(),
            inputs.count
        )));
    }
    let space = candidate.model.vectors.as_ref().and_then(|vectors| vectors.space(inputs.dimensions));
    let mut expected = space.and_then(|space| space.dimensions).map(|length| length as usize);
    for vector in vectors {
        let length = vector_length(vector.get())
            .ok_or_else(|| Unusable::Malformed("an embedding is neither an array of numbers nor base64".to_owned()))?;
        let expected = *expected.get_or_insert(length);
        if length != expected || length == 0 {
            let why = format!("the response has vectors of {length} numbers in place of {expected}");
            return Err(Unusable::Malformed(why));
        }
    }
    Ok(())
}

/// Larger counts than the texts have bytes are damage.
fn counted(usage: &Usage, inputs: &EmbeddingInputs) -> Option<TokenUsage> {
    let tokens = usage.prompt_tokens.or(usage.total_tokens).filter(|tokens| *tokens > 0.0)?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is cut to the bytes of the texts")]
    let tokens = (tokens as i64).min(i64::try_from(inputs.texts.len()).unwrap_or(i64::MAX));
    Some(TokenUsage { input: tokens, output: 0, total: tokens, cached: 0 })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{ModelKind, Vectors},
        plan::test_support::candidate,
    };

    fn embedder(dimensions: Option<u32>) -> Arc<Candidate> {
        let vectors =
            Vectors { family: "x".into(), dimensions, min_dimensions: Some(1), max_inputs: 96, max_batch_tokens: None };
        candidate("p/x").model(|m| (m.kind, m.vectors) = (ModelKind::Embedding, Some(vectors))).build()
    }

    fn inputs(count: u32) -> EmbeddingInputs {
        EmbeddingInputs {
            texts: Bytes::from_static(b"[\"a text\",\"another one\"]"),
            count,
            ..EmbeddingInputs::default()
        }
    }

    fn read_texts(text: &str, count: u32, dimensions: Option<u32>) -> Result<(Vec<String>, Option<i64>), Unusable> {
        let (computed, usage) = read(text, &inputs(count), &embedder(dimensions))?;
        Ok((computed.vectors.iter().map(ToString::to_string).collect(), usage.map(|usage| usage.input)))
    }

    #[test]
    fn vectors_come_in_the_order_of_their_texts() {
        let text = r#"{"data":[{"index":1,"embedding":[3, 4.5]},{"index":0,"embedding":[1,-2e-3]}],"usage":{"prompt_tokens":7}}"#;
        assert_eq!(read_texts(text, 2, Some(2)).unwrap(), (vec!["[1,-2e-3]".into(), "[3, 4.5]".into()], Some(7)));
        let bare = "[[1,2],[3,4]]";
        assert_eq!(read_texts(bare, 2, Some(2)).unwrap(), (vec!["[1,2]".into(), "[3,4]".into()], None));
        let base64 = r#"{"data":[{"embedding":"AACAPwAAAEA="}],"usage":{"prompt_tokens":9999}}"#;
        assert_eq!(read_texts(base64, 1, Some(2)).unwrap(), (vec!["\"AACAPwAAAEA=\"".into()], Some(24)));
    }

    #[test]
    fn a_vector_of_another_length_is_never_taken() {
        let of = |lengths: &[usize]| {
            let items: Vec<String> =
                lengths.iter().map(|n| format!("{{\"embedding\":[{}]}}", vec!["0.5"; *n].join(","))).collect();
            format!("{{\"data\":[{}]}}", items.join(","))
        };
        assert!(read_texts(&of(&[3, 3]), 2, Some(3)).is_ok() && read_texts(&of(&[3, 3]), 2, None).is_ok());
        for (lengths, dimensions) in
            [(&[4, 4][..], Some(3)), (&[3, 4], None), (&[0, 0], None), (&[3], Some(3)), (&[3, 3, 3], Some(3))]
        {
            let read = read_texts(&of(lengths), 2, dimensions);
            assert!(matches!(read, Err(Unusable::Malformed(_))), "{lengths:?}: {read:?}");
        }
        for wrong in [
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":9,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"embedding":[null]},{"embedding":[1]}]}"#,
            r#"{"data":[{"embedding":"AAA"},{"embedding":"AAAA"}]}"#,
            "{}",
            "no JSON",
        ] {
            assert!(matches!(read_texts(wrong, 2, None), Err(Unusable::Malformed(_))), "{wrong}");
        }
        assert_eq!(read_texts(r#"{"error":{"message":"no"}}"#, 2, None), Err(Unusable::Error));
    }

    #[test]
    fn the_body_names_the_length_only_where_it_differs_from_the_models_own() {
        let body = |dimensions, parameters: &[(&str, &str)]| {
            let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let inputs = EmbeddingInputs { dimensions, parameters, ..inputs(2) };
            let request = ChatRequest { embedding: Some(Box::new(inputs)), ..ChatRequest::default() };
            let mut one = embedder(Some(8));
            let changed = Arc::get_mut(&mut one).unwrap();
            Arc::get_mut(&mut changed.model).unwrap().default_parameters =
                vec![("input_type".to_owned(), "\"passage\"".to_owned())];
            String::from_utf8(super::body(&request, &one).to_vec()).unwrap()
        };
        let start = r#"{"model":"x","input":["a text","another one"]"#;
        assert_eq!(body(Some(8), &[]), format!("{start},\"input_type\":\"passage\"}}"));
        assert_eq!(
            body(Some(4), &[("input_type", "\"query\"")]),
            format!("{start},\"dimensions\":4,\"input_type\":\"query\"}}")
        );
    }
}
