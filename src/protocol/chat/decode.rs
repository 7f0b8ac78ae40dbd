//! Parses the parts of a chat request that matter to routing, in one pass and without copying the body.
//!
//! Known parameters are validated, so that a visible mistake costs no budget; unknown ones pass unchanged.

use bytes::Bytes;

use super::{
    parameters::KNOWN_PARAMETERS,
    reader::{BadRequest, Mistake, Reader, missing},
};
use crate::{
    domain::ChatRequest,
    json::{Json, JsonError, Kind, Text},
    protocol::skip_byte_order_mark,
};

/// Parses a request; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<ChatRequest, BadRequest> {
    let body = skip_byte_order_mark(body);
    let text = utf8(&body)?;
    let read = Reader::default().read(text).map_err(|mistake| bad_request(mistake, text))?;
    Ok(ChatRequest { body, ..read })
}

/// The text of a body.
pub(in crate::protocol) fn utf8(body: &Bytes) -> Result<&str, BadRequest> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text),
        Err(_) if body.starts_with(b"\xFF\xFE") || body.starts_with(b"\xFE\xFF") => {
            Err(invalid_json("The body is encoded as UTF-16; send it as UTF-8.".to_owned()))
        }
        Err(e) => Err(invalid_json(format!("The body is not valid UTF-8: bad sequence at byte {}.", e.valid_up_to()))),
    }
}

#[cold]
fn bad_request(mistake: Mistake, text: &str) -> BadRequest {
    // Parsing stopped at the first wrong value. A syntax error anywhere in the body is reported instead of it.
    let syntax = || {
        let mut json = Json::new(text);
        json.skip().and_then(|()| json.end()).err()
    };
    match mistake {
        Mistake::Json(e) => malformed(&e, text),
        Mistake::Value(bad) => syntax().map_or(bad, |e| malformed(&e, text)),
    }
}

/// The error for a body that is no JSON, with line and column.
#[cold]
pub(in crate::protocol) fn malformed(error: &JsonError, text: &str) -> BadRequest {
    let (line, column) = error.line_and_column(text);
    invalid_json(format!("The body is not valid JSON: {} at line {line} column {column}.", error.what))
}

fn invalid_json(message: String) -> BadRequest {
    BadRequest { code: "invalid_json", param: None, message }
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
        let Some(bit) = KNOWN_PARAMETERS.iter().position(|known| *known == decoded) else {
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
