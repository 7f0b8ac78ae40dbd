//! OpenAI's moderations. Categories of other providers are mapped to OpenAI's, and those that it lacks keep their names.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    chat::{BadRequest, measure},
    json_view::{self, Members, View},
    skip_byte_order_mark,
};
use crate::{
    domain::{ChatRequest, ModelKind, ModeratedText, Moderation, ModerationInputs, PromptSize, guard::CATEGORIES},
    json::Kind,
};

/// What OpenAI takes where no model is named; an alias of a model that is served here.
const DEFAULT_MODEL: &str = "omni-moderation-latest";
const MAX_INPUTS: usize = 256;
/// Mistral's names of OpenAI's categories.
const RENAMED: [(&str, &str); 5] = [
    ("hate_and_discrimination", "hate"),
    ("violence_and_threats", "violence"),
    ("dangerous_and_criminal_content", "illicit"),
    ("dangerous", "illicit"),
    ("selfharm", "self-harm"),
];

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<ChatRequest, BadRequest> {
    let body = skip_byte_order_mark(body);
    let top = json_view::object(&body, &json_view::EACH_NAME_ONCE)?.members();
    let model = match top.get("model") {
        None => DEFAULT_MODEL.to_owned(),
        Some(_) => json_view::model(&top)?,
    };
    let texts = texts(&top)?;
    let mut size = PromptSize { messages: u32::try_from(texts.len()).unwrap_or(1), ..PromptSize::default() };
    for text in &texts {
        measure(&mut size, &text[1..text.len() - 1]);
    }
    let moderation = Some(Box::new(ModerationInputs { texts }));
    Ok(ChatRequest {
        kind: ModelKind::Moderation,
        model,
        size,
        body: body.clone(),
        moderation,
        ..ChatRequest::default()
    })
}

fn texts(top: &Members<'_>) -> Result<Vec<String>, BadRequest> {
    let view = top.get("input").ok_or_else(|| json_view::missing("input"))?;
    if view.kind == Kind::String {
        return Ok(vec![view.raw.to_owned()]);
    }
    if view.kind != Kind::Array {
        return Err(json_view::wrong("input", "a string or an array", view));
    }
    let items = view.items();
    if items.is_empty() || items.len() > MAX_INPUTS {
        let message = format!("`input` has {} entries; send from 1 to {MAX_INPUTS}.", items.len());
        return Err(BadRequest::invalid("input", message));
    }
    items.into_iter().enumerate().map(|(at, item)| text(at, item)).collect()
}

/// A string, or a part of OpenAI's form for several media.
fn text(at: usize, item: View<'_>) -> Result<String, BadRequest> {
    let part = item.members();
    let text = match (item.kind, part.string("type").as_deref()) {
        (Kind::Object, Some("image_url")) => {
            let message = "No moderation model behind this gateway looks at images.";
            return Err(BadRequest::invalid(format!("input[{at}]"), message));
        }
        (Kind::Object, _) => part.get("text"),
        _ => Some(item),
    };
    text.filter(|text| text.kind == Kind::String)
        .map(|text| text.raw.to_owned())
        .ok_or_else(|| json_view::wrong(&format!("input[{at}]"), "a string", item))
}

/// The response, with OpenAI's categories.
pub fn encode(moderation: Moderation, model: &str, request_id: &str) -> Bytes {
    let results: Vec<Value> = moderation.results.into_iter().map(result).collect();
    json!({ "id": format!("modr-{request_id}"), "model": model, "results": results }).to_string().into()
}

/// A text is flagged where its provider says so, or in any of OpenAI's categories.
fn result(text: ModeratedText) -> Value {
    let mut categories: Map<String, Value> =
        CATEGORIES.map(|(name, _)| (name.to_owned(), false.into())).into_iter().collect();
    let mut scores: Map<String, Value> =
        CATEGORIES.map(|(name, _)| (name.to_owned(), 0.0.into())).into_iter().collect();
    categories.extend(text.categories.into_iter().map(|(name, is_true)| (openais(name), is_true)));
    scores.extend(text.category_scores.into_iter().map(|(name, score)| (openais(name), score)));
    let is_true = |(name, _): &(&str, &str)| categories.get(*name) == Some(&Value::Bool(true));
    let flagged = text.flagged.unwrap_or_else(|| CATEGORIES.iter().any(is_true));
    let applied: Map<String, Value> =
        CATEGORIES.map(|(name, _)| (name.to_owned(), json!(["text"]))).into_iter().collect();
    json!({
        "flagged": flagged, "categories": categories, "category_scores": scores, "category_applied_input_types": applied,
    })
}

fn openais(name: String) -> String {
    let known = RENAMED.iter().find(|(from, _)| *from == name);
    known.map_or(name, |(_, to)| (*to).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistrals_categories_become_openais_and_advice_flags_nothing() {
        let result = |name: &str| {
            let text = json!({ "categories": { name: true, "pii": false }, "category_scores": { name: 0.9 } });
            let moderation = Moderation { results: vec![serde_json::from_value(text).unwrap()] };
            let body: Value = serde_json::from_slice(&encode(moderation, "p/m", "r")).unwrap();
            body["results"][0].clone()
        };
        let hate = result("hate_and_discrimination");
        assert_eq!(
            (&hate["flagged"], &hate["categories"]["hate"], &hate["category_scores"]["hate"]),
            (&json!(true), &json!(true), &json!(0.9))
        );
        assert_eq!(
            (&hate["categories"]["pii"], &hate["categories"]["violence/graphic"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(result("law")["flagged"], false);
    }

    #[test]
    fn texts_are_read_in_each_form() {
        let read = |body: &str| decode(Bytes::copy_from_slice(body.as_bytes()));
        for body in [r#"{"input":"a"}"#, r#"{"input":["a"]}"#, r#"{"input":[{"type":"text","text":"a"}]}"#] {
            let request = read(body).unwrap();
            assert_eq!((request.moderation.unwrap().texts, &*request.model), (vec!["\"a\"".to_owned()], DEFAULT_MODEL));
        }
        for (body, param) in [
            (r#"{"model":"m"}"#, "input"),
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":["a",1]}"#, "input[1]"),
            (r#"{"input":[{"type":"image_url","image_url":{"url":"x"}}]}"#, "input[0]"),
        ] {
            assert_eq!(read(body).err().unwrap().param.as_deref(), Some(param), "{body}");
        }
    }
}
