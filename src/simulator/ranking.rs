//! Ranks documents by the words that they share with the query, in Cohere's form or in Jina's.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    dialects::{DialectName, request_checks::RequestError},
    ids,
    provider::Model,
    request::{SimulatedRequest, tokens_of},
};

/// Parses a body. The error says what is missing.
pub(super) fn parse(body: &[u8]) -> Result<SimulatedRequest, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let model = text("model").ok_or("`model` is missing")?;
    let query = text("query").ok_or("invalid request: query is required")?;
    let documents = documents(&body);
    if documents.is_empty() {
        return Err("invalid request: list of documents must not be empty".to_owned());
    }
    let prompt_tokens = std::iter::once(query.as_str()).chain(documents).map(tokens_of).sum();
    Ok(SimulatedRequest { model, prompt_tokens, last_user: query, body: body.clone(), ..SimulatedRequest::default() })
}

fn documents(body: &Value) -> Vec<&str> {
    body.get("documents").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The first thing that is wrong with a request.
pub(super) fn check(model: &Model) -> Option<RequestError> {
    let message = || format!("model '{}' is not a rerank model", model.id);
    (!model.can.rerank).then(|| RequestError::Value { param: "model", message: message() })
}

/// The body of the response, the best document first.
pub(super) fn response(dialect: DialectName, seed: u64, request: &SimulatedRequest) -> String {
    let words: HashSet<&str> = request.last_user.split_whitespace().collect();
    let score = |document: &str| {
        let shared = document.split_whitespace().filter(|word| words.contains(word)).count();
        let share = shared as f64 / document.split_whitespace().count().max(1) as f64;
        (share * 1e4).round() / 1e4
    };
    let documents = documents(&request.body);
    let mut ranked: Vec<(usize, f64)> = documents.iter().map(|document| score(document)).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = request.body.get("top_n").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    ranked.truncate(most.unwrap_or(usize::MAX));
    if dialect == DialectName::Cohere {
        let results: Vec<Value> =
            ranked.iter().map(|(index, score)| json!({ "index": index, "relevance_score": score })).collect();
        let meta = json!({ "api_version": { "version": "2" }, "billed_units": { "search_units": 1 } });
        return json!({ "id": ids::hex(seed, 0, 32), "results": results, "meta": meta }).to_string();
    }
    let result = |(index, score): &(usize, f64)| json!({ "index": index, "relevance_score": score, "document": { "text": documents[*index] } });
    let usage = json!({ "total_tokens": request.prompt_tokens });
    let results: Vec<Value> = ranked.iter().map(result).collect();
    json!({ "model": request.model, "object": "list", "usage": usage, "results": results }).to_string()
}
