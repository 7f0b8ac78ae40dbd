//! Errors as Anthropic's clients read them.

use serde_json::{Value, json};

use crate::protocol::failure::Failure;

/// The member of a request that continues a conversation which the server keeps.
pub(super) const THREAD: &str = "thread";

/// Status and body of an error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub status: u16,
    pub body: String,
}

/// The error response to a failed request.
pub fn error(failure: &Failure, request_id: &str) -> ErrorReply {
    ErrorReply { status: status(failure), body: envelope(failure, Some(request_id)).to_string() }
}

/// `{"type":"error","error":{…}}`, also the data of an `error` event.
pub(super) fn envelope(failure: &Failure, request_id: Option<&str>) -> Value {
    let mut envelope = json!({ "type": "error", "error": { "type": kind(failure), "message": message(failure) } });
    if failure.param.as_deref() == Some(THREAD) {
        // On this code a client sends the whole conversation instead of its latest messages.
        envelope["error"]["details"] = json!({ "error_code": "thread_not_found" });
    }
    if let Some(id) = request_id {
        envelope["request_id"] = id.into();
    }
    envelope
}

/// Anthropic's own status of an overload is 529, on which its clients retry.
fn status(failure: &Failure) -> u16 {
    if failure.status == 503 { 529 } else { failure.status }
}

fn kind(failure: &Failure) -> &'static str {
    match failure.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Clients shorten a conversation by themselves only where the message begins with these words.
const TOO_LONG: &str = "prompt is too long";

fn message(failure: &Failure) -> String {
    let message = &failure.message;
    if failure.code.as_deref() == Some("context_length_exceeded") {
        return format!("{TOO_LONG}: {message}");
    }
    if failure.code.as_deref() == Some("unsupported_by_models") {
        // Here, the only files are documents.
        return message.replace("supports files", "supports PDF documents");
    }
    match &failure.param {
        Some(param) if !message.contains(param.as_str()) => format!("{param}: {message}"),
        _ => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::decode;

    #[test]
    fn a_part_of_a_conversation_is_refused_in_the_words_on_which_clients_send_all_of_it() {
        let request = |thread: Value| {
            let messages = json!([{ "role": "user", "content": "x" }]);
            decode(json!({ "model": "m", "max_tokens": 9, "messages": messages, "thread": thread }).to_string().into())
        };
        for whole in [json!({ "type": "create" }), json!(null), json!("continue")] {
            assert!(request(whole).is_ok());
        }
        let refused = request(json!({ "type": "continue", "previous_message_id": "msg_1" })).err().unwrap();
        let envelope = envelope(&Failure { param: refused.param, ..failure(400, refused.code) }, None);
        assert_eq!(envelope["error"]["details"], json!({ "error_code": "thread_not_found" }));
    }

    fn failure(status: u16, code: &str) -> Failure {
        Failure { status, code: Some(code.to_owned()), ..Failure::upstream("why") }
    }

    #[test]
    fn every_status_has_anthropics_type() {
        for (given, status, kind) in [
            (400, 400, "invalid_request_error"),
            (401, 401, "authentication_error"),
            (403, 403, "permission_error"),
            (404, 404, "not_found_error"),
            (405, 405, "invalid_request_error"),
            (413, 413, "request_too_large"),
            (422, 422, "invalid_request_error"),
            (429, 429, "rate_limit_error"),
            (500, 500, "api_error"),
            (502, 502, "api_error"),
            (503, 529, "overloaded_error"),
            (504, 504, "timeout_error"),
        ] {
            let reply = error(&failure(given, "x"), "req_1");
            let body: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(reply.status, status);
            let expected =
                json!({ "type": "error", "error": { "type": kind, "message": "why" }, "request_id": "req_1" });
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_says_so_in_the_words_that_clients_know() {
        let reply = error(&failure(400, "context_length_exceeded"), "r");
        assert!(reply.body.contains("\"prompt is too long: why\""), "{}", reply.body);
    }

    #[test]
    fn a_message_names_the_field() {
        let wrong = Failure { param: Some("tools[0].name".to_owned()), ..failure(400, "invalid_value") };
        assert!(error(&wrong, "r").body.contains("tools[0].name: why"));
        let named = Failure { message: "`tools[0].name` is missing".to_owned(), ..wrong };
        assert!(error(&named, "r").body.contains("\"`tools[0].name` is missing\""));
    }
}
