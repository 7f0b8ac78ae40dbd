//! Calls that rank documents or moderate texts: their bodies, and what their responses say.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{embeddings::Unusable, response::sse_event::TokenUsage};
use crate::domain::{Candidate, ModeratedText, Moderation, ModerationInputs, RankedDocument, Ranking, RankingInputs};

pub(super) fn ranking_body(inputs: &RankingInputs, candidate: &Candidate) -> Bytes {
    let model = Value::from(&*candidate.model.id);
    let documents = inputs.documents.join(",");
    let mut body = format!("{{\"model\":{model},\"query\":{},\"documents\":[{documents}]", inputs.query);
    if let Some(top_n) = inputs.top_n {
        // Writing to a `String` cannot fail.
        let _ = write!(body, ",\"top_n\":{top_n}");
    }
    for (name, value) in &inputs.parameters {
        let _ = write!(body, ",{}:{value}", Value::from(&**name));
    }
    body.push('}');
    body.into()
}

pub(super) fn moderation_body(inputs: &ModerationInputs, candidate: &Candidate) -> Bytes {
    let model = Value::from(&*candidate.model.id);
    format!("{{\"model\":{model},\"input\":[{}]}}", inputs.texts.join(",")).into()
}

#[derive(Deserialize)]
struct RankingResponse {
    #[serde(default, alias = "data")]
    results: Vec<RankedDocument>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: Option<f64>,
    prompt_tokens: Option<f64>,
}

/// The ranking in a response, the best document first.
pub(super) fn read_ranking(
    text: &str,
    inputs: &RankingInputs,
    body_bytes: usize,
) -> Result<(Ranking, Option<TokenUsage>), Unusable> {
    let malformed = |error: serde_json::Error| Unusable::Malformed(error.to_string());
    let response = if text.trim_start().starts_with('[') {
        RankingResponse { results: serde_json::from_str(text).map_err(malformed)?, usage: None, error: None }
    } else {
        serde_json::from_str(text).map_err(malformed)?
    };
    let RankingResponse { mut results, usage, error } = response;
    if results.is_empty() && error.is_some_and(|error| !error.is_null()) {
        return Err(Unusable::Error);
    }
    let mut seen = vec![false; inputs.documents.len()];
    for result in &results {
        match seen.get_mut(result.index) {
            Some(seen @ false) if result.relevance_score.is_finite() => *seen = true,
            _ => {
                return Err(Unusable::Malformed(format!(
                    "the response ranks a document {} that is not there",
                    result.index
                )));
            }
        }
    }
    let wanted = inputs.top_n.unwrap_or(usize::MAX).min(inputs.documents.len());
    if results.len() < wanted {
        let message = format!("the response ranks {} documents in place of {wanted}", results.len());
        return Err(Unusable::Malformed(message));
    }
    results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    results.truncate(wanted);
    let usage = usage.and_then(|usage| {
        let tokens = usage.total_tokens.or(usage.prompt_tokens).filter(|tokens| *tokens > 0.0)?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is cut to the bytes of the request")]
        let tokens = (tokens as i64).min(i64::try_from(body_bytes).unwrap_or(i64::MAX));
        Some(TokenUsage { input: tokens, output: 0, total: tokens, cached: 0 })
    });
    Ok((Ranking { results, tokens: usage.map(|usage| usage.input) }, usage))
}

#[derive(Deserialize)]
struct ModerationResponse {
    #[serde(default)]
    results: Vec<ModeratedText>,
    error: Option<Value>,
}

/// One result for each text. A category that is neither true nor false makes the response unusable: nothing is guessed.
pub(super) fn read_moderation(text: &str, inputs: &ModerationInputs) -> Result<Moderation, Unusable> {
    let response: ModerationResponse =
        serde_json::from_str(text).map_err(|error| Unusable::Malformed(error.to_string()))?;
    if response.results.is_empty() && response.error.is_some_and(|error| !error.is_null()) {
        return Err(Unusable::Error);
    }
    let (found, count) = (response.results.len(), inputs.texts.len());
    if found != count {
        return Err(Unusable::Malformed(format!("the response has {found} results for {count} texts")));
    }
    let is_plain = |result: &ModeratedText| {
        !result.categories.is_empty()
            && result.categories.values().all(Value::is_boolean)
            && result.category_scores.values().all(Value::is_number)
    };
    if !response.results.iter().all(is_plain) {
        return Err(Unusable::Malformed("a result has no categories that are true or false".to_owned()));
    }
    Ok(Moderation { results: response.results })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(count: usize, top_n: Option<usize>) -> RankingInputs {
        let documents = (0..count).map(|n| format!("\"{n}\"")).collect();
        RankingInputs { query: "\"q\"".into(), documents, top_n, parameters: Vec::new() }
    }

    fn ranked(text: &str, inputs: &RankingInputs) -> Result<Vec<usize>, Unusable> {
        Ok(read_ranking(text, inputs, 1_000)?.0.results.iter().map(|result| result.index).collect())
    }

    #[test]
    fn rankings_of_each_form_come_with_the_best_first() {
        let cohere =
            r#"{"id":"x","results":[{"index":1,"relevance_score":0.2},{"index":0,"relevance_score":0.9}],"meta":{}}"#;
        assert_eq!(ranked(cohere, &documents(2, None)).unwrap(), [0, 1]);
        let jina = r#"{"results":[{"index":1,"relevance_score":0.2,"document":{"text":"1"}},{"index":0,"relevance_score":0.1}],"usage":{"total_tokens":9}}"#;
        let (ranking, usage) = read_ranking(jina, &documents(2, Some(1)), 1_000).unwrap();
        assert_eq!((ranking.results.len(), ranking.tokens, usage.unwrap().total), (1, Some(9), 9));
        assert_eq!(
            ranked(r#"[{"index":0,"score":0.1},{"index":1,"score":0.3}]"#, &documents(2, None)).unwrap(),
            [1, 0]
        );
        for wrong in [
            r#"{"results":[{"index":0,"relevance_score":1}]}"#,
            r#"{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}"#,
            r#"{"results":[{"index":0,"relevance_score":1},{"index":7,"relevance_score":1}]}"#,
            "{}",
        ] {
            assert!(matches!(ranked(wrong, &documents(2, None)), Err(Unusable::Malformed(_))), "{wrong}");
        }
        assert_eq!(ranked(r#"{"error":"no"}"#, &documents(2, None)), Err(Unusable::Error));
    }

    #[test]
    fn a_moderation_has_a_verdict_for_each_text() {
        let inputs = ModerationInputs { texts: vec!["\"a\"".into()] };
        let read = |text: &str| read_moderation(text, &inputs);
        let one =
            r#"{"results":[{"categories":{"sexual":true,"pii":false},"category_scores":{"sexual":0.9,"pii":0.1}}]}"#;
        assert_eq!(read(one).unwrap().results[0].categories["sexual"], true);
        for wrong in [
            r#"{"results":[]}"#,
            r#"{"results":[{"categories":{}}]}"#,
            r#"{"results":[{"categories":{"sexual":"maybe"}}]}"#,
            r#"{"results":[{"categories":{"sexual":true},"category_scores":{"sexual":null}}]}"#,
        ] {
            assert!(matches!(read(wrong), Err(Unusable::Malformed(_))), "{wrong}");
        }
    }
}
