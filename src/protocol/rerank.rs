//! Ranking of documents, in the form that Cohere and Jina share.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    chat::{BadRequest, measure},
    json_view::{self, Members, View},
    skip_byte_order_mark,
};
use crate::{
    domain::{ChatRequest, ModelKind, PromptSize, Ranking, RankingInputs},
    json::Kind,
};

/// Cohere's maximum.
const MAX_DOCUMENTS: usize = 1_000;
/// Parameters that the gateway reads; the others pass unchanged.
const KNOWN: [&str; 5] = ["model", "query", "documents", "top_n", "return_documents"];
/// Other providers' names of these.
const SAID_OTHERWISE: [(&str, &str); 4] =
    [("top_k", "top_n"), ("texts", "documents"), ("inputs", "documents"), ("input", "documents")];

/// A request, read.
pub struct RerankRequest {
    pub request: ChatRequest,
    /// The documents come back with their ranks.
    pub returns_documents: bool,
}

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<RerankRequest, BadRequest> {
    let body = skip_byte_order_mark(body);
    let top = json_view::object(&body, &json_view::PASSED_ON)?.members();
    let model = json_view::model(&top)?;
    let query = json_view::text(&top, "query")?;
    let documents = documents(&top)?;
    let top_n = match top.get("top_n") {
        None => None,
        Some(view) => {
            let count = view.integer().filter(|count| *count > 0).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or_else(|| json_view::wrong("top_n", "a positive integer", view))?)
        }
    };
    let returns_documents = json_view::flag(&top, "return_documents")?;
    let parameters = json_view::passed_on(&top, &KNOWN, &SAID_OTHERWISE)?;
    let mut size = PromptSize { messages: 1, ..PromptSize::default() };
    for text in std::iter::once(&query).chain(&documents) {
        measure(&mut size, &text[1..text.len() - 1]);
    }
    let others = parameters.iter().map(|(name, _)| name.clone()).collect();
    let inputs = RankingInputs { query, documents, top_n, parameters };
    let request = ChatRequest {
        kind: ModelKind::Rerank,
        model,
        others,
        size,
        body: body.clone(),
        ranking: Some(Box::new(inputs)),
        ..ChatRequest::default()
    };
    Ok(RerankRequest { request, returns_documents })
}

/// Strings, or objects with a text, as JSON strings.
fn documents(top: &Members<'_>) -> Result<Vec<String>, BadRequest> {
    let view = top.get("documents").ok_or_else(|| json_view::missing("documents"))?;
    if view.kind != Kind::Array {
        return Err(json_view::wrong("documents", "an array of strings", view));
    }
    let items = view.items();
    if items.is_empty() || items.len() > MAX_DOCUMENTS {
        let message = format!("`documents` has {} entries; send from 1 to {MAX_DOCUMENTS}.", items.len());
        return Err(BadRequest::invalid("documents", message));
    }
    let text = |(at, item): (usize, View<'_>)| {
        let text = if item.kind == Kind::Object { item.members().get("text") } else { Some(item) };
        text.filter(|text| text.kind == Kind::String)
            .map(|text| text.raw.to_owned())
            .ok_or_else(|| json_view::wrong(&format!("documents[{at}]"), "a string, or an object with `text`", item))
    };
    items.into_iter().enumerate().map(text).collect()
}

/// The response. It has what clients of Cohere and of Jina read.
pub fn encode(ranking: &Ranking, documents: Option<&[String]>, model: &str, request_id: &str) -> Bytes {
    let result = |result: &crate::domain::RankedDocument| {
        let mut entry = json!({ "index": result.index, "relevance_score": result.relevance_score });
        if let Some(text) = documents.and_then(|documents| documents.get(result.index)) {
            entry["document"] = json!({ "text": serde_json::from_str::<Value>(text).unwrap_or_default() });
        }
        entry
    };
    let results: Vec<Value> = ranking.results.iter().map(result).collect();
    let tokens = ranking.tokens.unwrap_or(0);
    let body = json!({
        "id": request_id, "model": model, "results": results,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        "meta": { "api_version": { "version": "2" }, "billed_units": { "search_units": 1 } },
    });
    body.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RankedDocument;

    #[test]
    fn both_forms_of_documents_are_read_and_written() {
        let body = r#"{"model":"m","query":"q","documents":["a",{"text":"b","x":1}],"top_n":1,"return_documents":true,"max_tokens_per_doc":9}"#;
        let read = decode(Bytes::from_static(body.as_bytes())).unwrap();
        let inputs = read.request.ranking.unwrap();
        assert_eq!((&inputs.documents[..], inputs.top_n), (&["\"a\"".to_owned(), "\"b\"".to_owned()][..], Some(1)));
        assert_eq!(inputs.parameters, [("max_tokens_per_doc".to_owned(), "9".to_owned())]);
        let ranking = Ranking { results: vec![RankedDocument { index: 1, relevance_score: 0.5 }], tokens: Some(4) };
        let written: Value = serde_json::from_slice(&encode(&ranking, Some(&inputs.documents), "p/m", "r1")).unwrap();
        let expected = json!([{ "index": 1, "relevance_score": 0.5, "document": { "text": "b" } }]);
        assert_eq!((&written["results"], &written["usage"]["total_tokens"]), (&expected, &json!(4)));
    }

    #[test]
    fn what_others_would_read_differently_is_refused() {
        for (more, param) in [
            (r#""Model":"x""#, "Model"),
            (r#""mod\u0065l":"x""#, "model"),
            (r#""DOCUMENTS":[]"#, "DOCUMENTS"),
            (r#""top_k":1"#, "top_k"),
            (r#""texts":["b"]"#, "texts"),
        ] {
            let body = format!(r#"{{"model":"m","query":"q","documents":["a"],{more}}}"#);
            assert_eq!(decode(body.into()).err().unwrap().param.as_deref(), Some(param), "{more}");
        }
        let body = r#"{"model":"m","query":"q","documents":["a"],"provider":{"only":["x"]}}"#;
        let read = decode(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(read.request.others, ["provider"], "what may cost money is known to the plan");
    }

    #[test]
    fn a_mistake_is_named_by_its_path() {
        for (body, param) in [
            (r#"{"query":"q","documents":["a"]}"#, "model"),
            (r#"{"model":"m","documents":["a"]}"#, "query"),
            (r#"{"model":"m","query":"q"}"#, "documents"),
            (r#"{"model":"m","query":"q","documents":[]}"#, "documents"),
            (r#"{"model":"m","query":"q","documents":["a",7]}"#, "documents[1]"),
            (r#"{"model":"m","query":"q","documents":["a"],"top_n":0}"#, "top_n"),
        ] {
            let read = decode(Bytes::copy_from_slice(body.as_bytes()));
            assert_eq!(read.err().unwrap().param.as_deref(), Some(param), "{body}");
        }
    }
}
