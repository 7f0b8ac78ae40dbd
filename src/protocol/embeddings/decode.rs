//! Reads a request for embeddings.

use bytes::Bytes;

use super::request::{EmbeddingRequest, Format, Text};
use crate::{
    domain::{PromptSize, Tier},
    json::Kind,
    protocol::{
        chat::{BadRequest, measure},
        json_view::{self, Members, View, missing, model, wrong},
        skip_byte_order_mark,
    },
};

/// OpenAI's maximum.
const MAX_INPUTS: usize = 2_048;
/// Longer than the vectors of any model.
const MAX_DIMENSIONS: i64 = 65_536;
/// Parameters that the gateway reads; the others pass unchanged.
const KNOWN: [&str; 6] = ["model", "input", "dimensions", "encoding_format", "user", "service_tier"];
/// Other providers' names of these, which would change the vectors or the charge.
const SAID_OTHERWISE: [(&str, &str); 9] = [
    ("output_dimension", "dimensions"),
    ("output_dimensionality", "dimensions"),
    ("output_dtype", "encoding_format"),
    ("embedding_type", "encoding_format"),
    ("embedding_types", "encoding_format"),
    ("inputs", "input"),
    ("texts", "input"),
    ("images", "input"),
    ("prompt", "input"),
];

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<EmbeddingRequest, BadRequest> {
    let body = skip_byte_order_mark(body);
    let top = json_view::object(&body, &json_view::PASSED_ON)?.members();
    let model = model(&top)?;
    let texts = texts(&body, &top)?;
    let dimensions = match top.get("dimensions") {
        None => None,
        Some(view) => {
            let length = view.integer().filter(|length| (1..=MAX_DIMENSIONS).contains(length));
            let length = length.and_then(|length| u32::try_from(length).ok());
            Some(length.ok_or_else(|| wrong("dimensions", "an integer from 1 to 65536", view))?)
        }
    };
    let format = match top.get("encoding_format") {
        None => Format::Float,
        Some(view) => match view.string().as_deref() {
            Some("float") => Format::Float,
            Some("base64") => Format::Base64,
            _ => return Err(wrong("encoding_format", "`float` or `base64`", view)),
        },
    };
    if let Some(view) = top.get("user").filter(|view| view.kind != Kind::String) {
        return Err(wrong("user", "a string", view));
    }
    let tier = match top.string("service_tier").as_deref() {
        Some("flex") => Tier::Flex,
        Some("priority") => Tier::Priority,
        _ => Tier::Standard,
    };
    let parameters = json_view::passed_on(&top, &KNOWN, &SAID_OTHERWISE)?;
    Ok(EmbeddingRequest { model, texts, dimensions, format, tier, parameters })
}

fn texts(body: &Bytes, top: &Members<'_>) -> Result<Vec<Text>, BadRequest> {
    let view = top.get("input").ok_or_else(|| missing("input"))?;
    if view.kind == Kind::String {
        return Ok(vec![text(body, view, || "input".to_owned())?]);
    }
    if view.kind != Kind::Array {
        return Err(wrong("input", "a string or an array of strings", view));
    }
    let items = view.items();
    if items.is_empty() || items.len() > MAX_INPUTS {
        let found = items.len();
        return Err(BadRequest::invalid("input", format!("`input` has {found} texts; send from 1 to {MAX_INPUTS}.")));
    }
    if items.iter().all(|item| matches!(item.kind, Kind::Number | Kind::Array)) {
        return Err(tokens());
    }
    items.into_iter().enumerate().map(|(at, item)| text(body, item, || format!("input[{at}]"))).collect()
}

fn text(body: &Bytes, view: View<'_>, path: impl Fn() -> String) -> Result<Text, BadRequest> {
    let Some(escaped) = view.escaped() else { return Err(wrong(&path(), "a string", view)) };
    if escaped.is_empty() {
        let path = path();
        return Err(BadRequest::invalid(&path, format!("`{path}` is an empty string, which has no embedding.")));
    }
    let mut size = PromptSize { messages: 1, ..PromptSize::default() };
    measure(&mut size, escaped);
    Ok(Text { json: body.slice_ref(view.raw.as_bytes()), size })
}

/// Each model has its own tokens, and the client cannot know which one answers.
fn tokens() -> BadRequest {
    let message = "`input` has tokens: send texts. The models behind this gateway have vocabularies of their own, so \
        numbers of tokens have no meaning here. (LangChain: `check_embedding_ctx_length=False`.)";
    BadRequest::invalid("input", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<EmbeddingRequest, BadRequest> {
        decode(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_string_and_an_array_are_texts_and_unknown_parameters_pass() {
        let request =
            read(r#"{"model":"m","input":"a \"text\"","user":"u","input_type":"query","truncate":null}"#).unwrap();
        assert_eq!((request.texts.len(), &request.texts[0].json[..]), (1, &br#""a \"text\"""#[..]));
        assert_eq!((request.texts[0].size.ascii_chars, request.format), (8, Format::Float));
        assert_eq!(request.parameters, [("input_type".to_owned(), "\"query\"".to_owned())]);
        let many =
            read(r#"{"model":"m","input":["a","bcd","ef"],"encoding_format":"base64","dimensions":256}"#).unwrap();
        assert_eq!((many.texts.len(), many.dimensions, many.format), (3, Some(256), Format::Base64));
        assert_eq!(many.longest(), 1);
        let part = many.part(1..3, None);
        let inputs = part.embedding.unwrap();
        assert_eq!((&inputs.texts[..], inputs.count, inputs.longest.ascii_chars), (&b"[\"bcd\",\"ef\"]"[..], 2, 3));
        assert_eq!((part.size.ascii_chars, part.size.messages), (5, 2));
    }

    #[test]
    fn a_mistake_is_named_by_its_path() {
        for (body, param) in [
            (r#"{"input":"a"}"#, "model"),
            (r#"{"model":"","input":"a"}"#, "model"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":[]}"#, "input"),
            (r#"{"model":"m","input":""}"#, "input"),
            (r#"{"model":"m","input":["a",""]}"#, "input[1]"),
            (r#"{"model":"m","input":["a",7]}"#, "input[1]"),
            (r#"{"model":"m","input":[1,2]}"#, "input"),
            (r#"{"model":"m","input":[[1],[2]]}"#, "input"),
            (r#"{"model":"m","input":"a","dimensions":0}"#, "dimensions"),
            (r#"{"model":"m","input":"a","encoding_format":"hex"}"#, "encoding_format"),
            (r#"{"model":"m","input":"a","user":7}"#, "user"),
            (r#"{"model":"m","input":"a","output_dimension":7}"#, "output_dimension"),
            (r#"{"model":"m","input":"a","embedding_types":["int8"]}"#, "embedding_types"),
            (r#"{"model":"m","input":"a","Model":"x"}"#, "Model"),
            (r#"{"model":"m","input":"a","\u0069nput":"b"}"#, "input"),
            (r#"{"model":"m","input":"a","provider":{"ONLY":1,"Provider":2}}"#, "provider.Provider"),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        assert!(read(r#"{"model":"m","input":[1,2]}"#).unwrap_err().message.contains("tokens"));
        let texts = vec!["\"a\""; 2_049].join(",");
        let many = read(&format!("{{\"model\":\"m\",\"input\":[{texts}]}}")).unwrap_err();
        assert!(many.message.contains("2049 texts"), "{}", many.message);
    }
}
