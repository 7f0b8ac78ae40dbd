//! Parses the parts of a chat request that matter to routing, in one pass and without copying the body.
//!
//! Known parameters are validated, so that a visible mistake costs no budget; unknown ones pass unchanged.

use bytes::Bytes;

use super::{
    names::NAMES,
    parameters::KNOWN_PARAMETERS,
    reader::{BadRequest, Mistake, Reader, missing},
};
use crate::{
    domain::ChatRequest,
    json::{Json, JsonError, Kind, Text, path_of},
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

/// The error for a body that is no JSON, with line and column, or whose names can be read differently.
#[cold]
pub(in crate::protocol) fn malformed(error: &JsonError, text: &str) -> BadRequest {
    let (line, column) = error.line_and_column(text);
    if error.is_about_a_name() {
        return ambiguous(&path_of(text, error.at), error.is_repeated_name(), line, column);
    }
    invalid_json(format!("The body is not valid JSON: {} at line {line} column {column}.", error.what))
}

/// Two readers could read the body differently: what is counted and checked here must be what the provider reads.
fn ambiguous(path: &str, is_repeated: bool, line: usize, column: usize) -> BadRequest {
    let message = if is_repeated {
        format!("The name `{path}` occurs twice in the body, again at line {line} column {column}.")
    } else {
        format!(
            "The name `{path}` at line {line} column {column} differs from a known one only in the case of its letters or in \
             an escape: some servers would take it for the known one. Write it as it is documented, or leave it out."
        )
    };
    BadRequest { code: "invalid_json", param: Some(path.to_owned()), message }
}

fn invalid_json(message: String) -> BadRequest {
    BadRequest { code: "invalid_json", param: None, message }
}

impl Reader {
    fn read(mut self, text: &str) -> Result<ChatRequest, Mistake> {
        let mut json = Json::unambiguous(text, &NAMES);
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
        if !KNOWN_PARAMETERS.contains(&&*decoded) {
            self.other(&decoded, json.at())?;
            return Ok(json.skip()?);
        }
        self.parameter(&decoded, json)
    }
}
