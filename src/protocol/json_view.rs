//! The JSON of a request, read value by value. Nothing is copied: strings that pass into another JSON keep their escapes.

use std::borrow::Cow;

use bytes::Bytes;

use super::chat::{BadRequest, FREE_FORM, KNOWN_PARAMETERS, OTHERS, malformed, utf8};
use crate::json::{Json, JsonError, Kind, Names};

/// A body that is translated must only not say a thing twice: the provider reads what is written here.
pub(super) static EACH_NAME_ONCE: Names = Names { known: &[], free_form: &[] };

/// A body of which members pass unchanged must not have a known name in another spelling either: the provider would read it.
pub(super) static PASSED_ON: Names = Names { known: &[&KNOWN_PARAMETERS, OTHERS, OF_KINDS], free_form: FREE_FORM };

/// Names at the endpoints of models that do not chat, beside those of a chat.
static OF_KINDS: &[&str] = &[
    "prompt",
    "suffix",
    "echo",
    "best_of",
    "input",
    "inputs",
    "texts",
    "images",
    "dimensions",
    "encoding_format",
    "input_type",
    "truncate",
    "truncation",
    "task",
    "query",
    "documents",
    "top_n",
    "return_documents",
    "max_tokens_per_doc",
    "output_dimension",
    "output_dimensionality",
    "output_dtype",
    "embedding_type",
    "embedding_types",
];

/// Parameters of one request that pass unchanged.
const MAX_OTHER_PARAMETERS: usize = 16;

/// One value, as it is written. Its grammar has been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub kind: Kind,
    pub raw: &'a str,
}

/// The members of an object. Null counts as an absent member.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, View<'a>)>);

/// The value of a body, which is an object. `names`: how its names are checked.
pub(super) fn object<'a>(body: &'a Bytes, names: &'static Names) -> Result<View<'a>, BadRequest> {
    let text = utf8(body)?;
    let view = View::of(text, names).map_err(|e| malformed(&e, text))?;
    if view.kind == Kind::Object {
        return Ok(view);
    }
    let message = format!("The body must be a JSON object, found {}.", view.kind.named());
    Err(BadRequest { code: "invalid_json", param: None, message })
}

/// The name of a model, which every request has.
pub(super) fn model(top: &Members<'_>) -> Result<String, BadRequest> {
    let view = top.get("model").ok_or_else(|| missing("model"))?;
    match view.string() {
        Some(model) if !model.is_empty() => Ok(model.into_owned()),
        _ => Err(wrong("model", "a model's name", view)),
    }
}

/// A required string, as JSON.
pub(super) fn text(top: &Members<'_>, name: &str) -> Result<String, BadRequest> {
    let view = top.get(name).ok_or_else(|| missing(name))?;
    if view.kind == Kind::String { Ok(view.raw.to_owned()) } else { Err(wrong(name, "a string", view)) }
}

/// A boolean, or its absence.
pub(super) fn flag(top: &Members<'_>, name: &str) -> Result<bool, BadRequest> {
    let Some(view) = top.get(name) else { return Ok(false) };
    view.bool().ok_or_else(|| wrong(name, "a boolean", view))
}

/// Parameters that pass unchanged, with their values as JSON: those that are not in `read`. One that says in another
/// provider's words what one of those says would be obeyed there without having been checked here: `said_otherwise` has such
/// names, each with the one to use.
pub(super) fn passed_on(
    top: &Members<'_>,
    read: &[&str],
    said_otherwise: &[(&str, &str)],
) -> Result<Vec<(String, String)>, BadRequest> {
    let others = top.iter().filter(|(name, _)| !read.contains(name));
    let parameters: Vec<_> = others.map(|(name, view)| (name.to_owned(), view.raw.to_owned())).collect();
    for (name, _) in &parameters {
        if let Some((_, known)) = said_otherwise.iter().find(|(other, _)| other == name) {
            return Err(BadRequest::invalid(name, format!("`{name}` is not supported here: send `{known}`.")));
        }
    }
    if parameters.len() > MAX_OTHER_PARAMETERS {
        return Err(BadRequest::invalid(&parameters[0].0, "The request has more than 16 unknown parameters."));
    }
    Ok(parameters)
}

pub(super) fn missing(param: &str) -> BadRequest {
    BadRequest::invalid(param, format!("Missing required parameter: `{param}`."))
}

pub(super) fn wrong(param: &str, expected: &str, found: View<'_>) -> BadRequest {
    let found = match found.kind {
        Kind::Number | Kind::Bool => found.raw.chars().take(40).collect(),
        kind => kind.named().to_owned(),
    };
    BadRequest::invalid(param, format!("Invalid value for `{param}`: expected {expected}, found {found}."))
}

impl<'a> View<'a> {
    fn of(text: &'a str, names: &'static Names) -> Result<Self, JsonError> {
        let mut json = Json::unambiguous(text, names);
        let view = Self::next(&mut json)?;
        json.end()?;
        Ok(view)
    }

    fn next(json: &mut Json<'a>) -> Result<Self, JsonError> {
        let kind = json.peek()?;
        let at = json.at();
        json.skip()?;
        Ok(Self { kind, raw: &json.text()[at..json.at()] })
    }

    /// The members of an object; none of any other value.
    pub(super) fn members(self) -> Members<'a> {
        let mut members = Vec::with_capacity(8);
        if self.kind == Kind::Object {
            // The grammar has been checked, so this cannot fail.
            let _ = Json::new(self.raw).object(|name, json| {
                members.push((name.decode(), Self::next(json)?));
                Ok::<_, JsonError>(())
            });
        }
        Members(members)
    }

    /// The items of an array; none of any other value.
    pub(super) fn items(self) -> Vec<Self> {
        let mut items = Vec::new();
        if self.kind == Kind::Array {
            let _ = Json::new(self.raw).array(|_, json| {
                items.push(Self::next(json)?);
                Ok::<_, JsonError>(())
            });
        }
        items
    }

    /// A string without its quotes, with its escapes.
    pub(super) fn escaped(self) -> Option<&'a str> {
        (self.kind == Kind::String).then(|| &self.raw[1..self.raw.len() - 1])
    }

    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let escaped = self.escaped()?;
        let is_plain = memchr::memchr(b'\\', escaped.as_bytes()).is_none();
        Some(if is_plain { escaped.into() } else { serde_json::from_str(self.raw).unwrap_or_else(|_| escaped.into()) })
    }

    pub(super) fn bool(self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn integer(self) -> Option<i64> {
        (self.kind == Kind::Number).then(|| self.raw.parse().ok()).flatten()
    }
}

impl<'a> Members<'a> {
    /// A member that is not null. The last of repeated ones counts, as in most readers of JSON.
    pub(super) fn get(&self, name: &str) -> Option<View<'a>> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, view)| *view).filter(|view| view.kind != Kind::Null)
    }

    /// All members that are not null, each with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, View<'a>)> {
        self.0.iter().map(|(name, view)| (&**name, *view)).filter(|(_, view)| view.kind != Kind::Null)
    }

    /// A member that is a string.
    pub(super) fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.string()
    }
}
