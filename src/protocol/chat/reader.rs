//! The request while it is read, the mistakes found in it, and values that any parameter can have.

use crate::{
    domain::ChatRequest,
    json::{Json, JsonError, Kind, Text},
};

/// An invalid request. It has cost no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// `invalid_json` or `invalid_value`.
    pub code: &'static str,
    /// Path of the field: `messages[2].content[0].image_url.url`.
    pub param: Option<String>,
    /// Found and expected value; for malformed JSON also line and column.
    pub message: String,
}

impl BadRequest {
    /// A wrong value of the field at `path`.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: "invalid_value", param: Some(path.into()), message: message.into() }
    }
}

/// An error while parsing; positions become lines and columns at the end.
#[derive(Debug)]
pub(super) enum Mistake {
    Json(JsonError),
    Value(BadRequest),
}

impl From<JsonError> for Mistake {
    fn from(e: JsonError) -> Self {
        Mistake::Json(e)
    }
}

/// The request as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) found: ChatRequest,
    /// `max_completion_tokens` overrides `max_tokens`, in any order.
    pub(super) max_completion_tokens: Option<i64>,
    pub(super) has_model: bool,
    pub(super) has_messages: bool,
}

/// The error for a wrong value of a known field.
#[cold]
pub(super) fn wrong(param: impl Into<String>, expected: &str, found: impl std::fmt::Display) -> Mistake {
    let param = param.into();
    let message = format!("Invalid value for `{param}`: expected {expected}, found {found}.");
    Mistake::Value(BadRequest { code: "invalid_value", param: Some(param), message })
}

#[cold]
pub(super) fn missing(param: &str) -> Mistake {
    Mistake::Value(BadRequest {
        code: "invalid_value",
        param: Some(param.to_owned()),
        message: format!("Missing required parameter: `{param}`."),
    })
}

/// A string or null.
pub(super) fn string_or_null<'a>(json: &mut Json<'a>, param: impl Fn() -> String) -> Result<Option<Text<'a>>, Mistake> {
    match json.peek()? {
        Kind::String => Ok(Some(json.string()?)),
        Kind::Null => json.literal().map(|_| None).map_err(Into::into),
        other => Err(wrong(param(), "a string", other.named())),
    }
}

/// Skips a null, which OpenAI's SDKs send for an absent field, and returns whether there was one.
pub(super) fn skip_null(json: &mut Json<'_>) -> Result<bool, Mistake> {
    let null = json.peek()? == Kind::Null;
    if null {
        json.literal()?;
    }
    Ok(null)
}

/// The beginning of a value, for a message.
pub(super) fn short(value: &str) -> &str {
    value.char_indices().nth(40).map_or(value, |(end, _)| &value[..end])
}
