//! Reads requests for embeddings, and computes vectors: the same text has the same vector at one model, and another one at
//! every other model and length.

use serde_json::{Value, json};

use super::{
    dialects::request_checks::RequestError,
    provider::Model,
    request::{SimulatedRequest, tokens_of},
};

/// Parses a body. The error says what is missing.
pub(super) fn parse(body: &[u8]) -> Result<SimulatedRequest, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let model = body.get("model").and_then(Value::as_str).ok_or("`model` is missing")?.to_owned();
    let texts = texts(&body)?;
    let prompt_tokens = texts.iter().map(|text| tokens_of(text)).sum();
    Ok(SimulatedRequest { model, prompt_tokens, body: body.clone(), ..SimulatedRequest::default() })
}

fn texts(body: &Value) -> Result<Vec<&str>, String> {
    let wrong = || "`input` must be a string or an array of strings".to_owned();
    match body.get("input") {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// The length that a request asks for, under either name.
fn requested(body: &Value) -> Option<i64> {
    body.get("dimensions").or_else(|| body.get("output_dimension")).and_then(Value::as_i64)
}

/// The first thing that is wrong with a request.
pub(super) fn check(model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
    let wrong = |param, message: String| Some(RequestError::Value { param, message });
    let Some(vectors) = &model.vectors else {
        return wrong("model", format!("{} is not an embedding model", model.id));
    };
    let texts = texts(&request.body).unwrap_or_default();
    if texts.len() > vectors.max_inputs {
        return wrong(
            "input",
            format!("at most {} texts can be in one batch, got {}", vectors.max_inputs, texts.len()),
        );
    }
    if let Some(longest) = texts.iter().map(|text| tokens_of(text)).max().filter(|tokens| *tokens > model.context) {
        return Some(RequestError::Context { tokens: longest, most: model.context });
    }
    let least = vectors.min_dimensions.unwrap_or(vectors.dimensions);
    match requested(&request.body) {
        Some(length) if !(least..=vectors.dimensions).contains(&length) => {
            wrong("dimensions", format!("this model has vectors of {least} to {} dimensions", vectors.dimensions))
        }
        _ => None,
    }
}

/// The body of the response.
pub(super) fn response(model: &Model, request: &SimulatedRequest) -> String {
    let own = model.vectors.as_ref().map_or(1, |vectors| vectors.dimensions);
    let length = requested(&request.body).unwrap_or(own);
    let texts = texts(&request.body).unwrap_or_default();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": vector(model, text, length) }))
        .collect();
    let tokens = request.prompt_tokens;
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    json!({ "object": "list", "data": data, "model": request.model, "usage": usage }).to_string()
}

/// A vector of length 1, whose numbers have five decimals.
fn vector(model: &Model, text: &str, length: i64) -> Vec<f64> {
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{} {length} {text}", model.id).bytes() {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let numbers: Vec<f64> = (0..length).map(|_| rng.f64() - 0.5).collect();
    let norm = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    numbers.into_iter().map(|number| (number / norm * 1e5).round() / 1e5).collect()
}
