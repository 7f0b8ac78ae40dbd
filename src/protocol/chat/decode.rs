//! Parses the parts of a chat request that matter to routing, in one pass and without copying the body.
//!
//! Known parameters are validated, so that a visible mistake costs no budget; unknown ones pass unchanged.

use bytes::Bytes;

use super::parameters;
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

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<ChatRequest, BadRequest> {
    let text = match std::str::from_utf8(&body) {
        Ok(text) => text,
        Err(e) => {
            return Err(invalid_json(format!(
                "The body is not valid UTF-8: bad sequence at byte {}.",
                e.valid_up_to()
            )));
        }
    };
    let read = Reader::default().read(text).map_err(|mistake| bad_request(mistake, text))?;
    Ok(ChatRequest { body, ..read })
}

#[cold]
fn bad_request(mistake: Mistake, text: &str) -> BadRequest {
    // Parsing stopped at the first wrong value. A syntax error anywhere in the body is reported instead of it.
    let syntax = || {
        let mut json = Json::new(text);
        json.skip().and_then(|()| json.end()).err()
    };
    let malformed = |e: JsonError| {
        let (line, column) = e.line_and_column(text);
        invalid_json(format!("The body is not valid JSON: {} at line {line} column {column}.", e.what))
    };
    match mistake {
        Mistake::Json(e) => malformed(e),
        Mistake::Value(bad) => syntax().map_or(bad, malformed),
    }
}

fn invalid_json(message: String) -> BadRequest {
    BadRequest { code: "invalid_json", param: None, message }
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

/// The request as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) found: ChatRequest,
    /// `max_completion_tokens` overrides `max_tokens`, in any order.
    pub(super) max_completion_tokens: Option<i64>,
    /// One bit per known top-level name.
    seen: u64,
    pub(super) has_model: bool,
    pub(super) has_messages: bool,
}

impl Reader {
    fn read(mut self, text: &str) -> Result<ChatRequest, Mistake> {
        let mut json = Json::new(text);
        let kind = json.peek()?;
        if kind != Kind::Object {
            let message = format!("The body must be a JSON object, found {}.", kind.named());
            return Err(Mistake::Value(BadRequest { code: "invalid_json", param: None, message }));
        }
        json.object(|name, json| self.member(name, json))?;
        json.end()?;
        if !self.has_model {
            return Err(missing("model"));
        }
        if !self.has_messages {
            return Err(missing("messages"));
        }
        self.found.max_tokens = self.max_completion_tokens.or(self.found.max_tokens);
        self.found.size.images += self.found.images;
        Ok(self.found)
    }

    fn member(&mut self, name: Text<'_>, json: &mut Json<'_>) -> Result<(), Mistake> {
        let decoded = name.decode();
        let Some(bit) = parameters::KNOWN_PARAMETERS.iter().position(|known| *known == decoded) else {
            return Ok(json.skip()?);
        };
        if self.seen & (1 << bit) != 0 {
            let (line, column) = JsonError { at: name.at, what: "" }.line_and_column(json.text());
            return Err(Mistake::Value(BadRequest {
                code: "invalid_json",
                param: Some(decoded.clone().into_owned()),
                message: format!(
                    "The name `{decoded}` occurs twice in the body, again at line {line} column {column}."
                ),
            }));
        }
        self.seen |= 1 << bit;
        self.parameter(&decoded, json)
    }
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
