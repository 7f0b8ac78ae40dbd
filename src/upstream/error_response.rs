//! Parses error responses in the envelopes of all providers.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{
    bounds::{BYTE_ORDER_MARK, MAX_ERROR_BYTES},
    hints, redact, retry_after,
};
use crate::domain::Candidate;

/// A parsed error response. Dialects classify it by provider, status and code, in that order.
#[derive(Debug)]
pub(crate) struct ErrorResponse<'a> {
    pub candidate: &'a Candidate,
    /// The HTTP status. For an error inside a 200 it is the status named in the body, otherwise 500.
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// The provider's clock in ms.
    pub now_ms: i64,
    pub message: String,
    pub code: Option<String>,
    /// `type`, or the `status` of Google's errors.
    pub kind: Option<String>,
    /// The innermost error object, or `Null` where the body is no JSON.
    pub body: Value,
    /// The body is no JSON: a web page of a proxy, or the text of a bot filter.
    pub plain: bool,
}

impl<'a> ErrorResponse<'a> {
    pub(super) fn new(candidate: &'a Candidate, status: u16, headers: &'a HeaderMap, body: &[u8]) -> Self {
        let now_ms = hints::now_ms(headers);
        let body = bounded(body);
        let mut response = Self {
            candidate,
            status,
            headers,
            now_ms,
            message: String::new(),
            code: None,
            kind: None,
            body: Value::Null,
            plain: false,
        };
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => response.read(innermost(value)),
            Err(_) => response.read_plain(&String::from_utf8_lossy(body)),
        }
        response.message = redact::message(candidate, &response.message);
        if status == 404 && candidate.provider.custom {
            let url = &candidate.provider.base_url;
            response.message = format!(
                "{} (404 at {url}/chat/completions: check the address of the provider and the name of the model)",
                response.message
            );
        }
        response
    }

    fn read(&mut self, body: Value) {
        self.code = scalar(&body["code"])
            .or_else(|| scalar(&body["error_code"]))
            .and_then(|code| redact::code(self.candidate, &code));
        self.kind = scalar(&body["type"]).or_else(|| scalar(&body["status"]));
        self.message = error_message(&body).unwrap_or_else(|| format!("HTTP {} without a message", self.status));
        if self.status == 200 {
            // The error of a 200 may contain the true status.
            let named = [&body["status_code"], &body["code"], &body["status"]];
            let named = named.into_iter().filter_map(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
            self.status = named.filter_map(|n| u16::try_from(n).ok()).find(|n| (400..600).contains(n)).unwrap_or(500);
        }
        self.body = body;
    }

    fn read_plain(&mut self, text: &str) {
        self.plain = true;
        self.message = plain_message(self.status, text.trim());
        if self.status == 200 {
            self.status = 500;
        }
    }

    pub(super) fn code_is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// The message contains any of these lower-case words.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    /// `retry-after` in ms, or the time that the body states.
    pub(crate) fn retry_after_ms(&self) -> Option<i64> {
        retry_after::of_headers(self.headers, self.now_ms).or_else(|| retry_after::of_body(&self.body, self.now_ms))
    }

    /// The time until a limit resets, by headers that many servers send.
    pub(crate) fn resets_in_ms(&self) -> Option<i64> {
        retry_after::of_resets(self.headers, self.now_ms)
    }
}

/// An error that stands at the top of a 200 and in the place of choices: `{"object":"error","message":…}`,
/// `{"code":500,"msg":…}`.
pub(crate) fn is_flat_error(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(bounded(body)) else { return false };
    let has_choices = body["choices"].as_array().is_some_and(|choices| !choices.is_empty());
    if has_choices || error_message(&body).is_none() {
        return false;
    }
    let names_error = |name: &str| {
        body[name].as_str().is_some_and(|word| word.eq_ignore_ascii_case("error") || word.eq_ignore_ascii_case("fail"))
    };
    let is_good = |code: &str| matches!(code.to_ascii_lowercase().as_str(), "0" | "200" | "ok" | "success");
    let has_code = |name: &str| scalar(&body[name]).is_some_and(|code| !is_good(&code));
    ["object", "type", "status"].into_iter().any(names_error)
        || ["code", "status_code", "error_code", "statusCode"].into_iter().any(has_code)
        || body["success"] == false
}

/// Errors inside a stream may be as long as any event.
fn bounded(body: &[u8]) -> &[u8] {
    let body = &body[..body.len().min(MAX_ERROR_BYTES)];
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// The message of an error response. It may contain secrets.
pub(crate) fn message_of(status: u16, body: &[u8]) -> String {
    let body = bounded(body);
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => error_message(&innermost(value)).unwrap_or_else(|| format!("HTTP {status} without a message")),
        Err(_) => plain_message(status, String::from_utf8_lossy(body).trim()),
    }
}

fn plain_message(status: u16, text: &str) -> String {
    if text.is_empty() {
        return format!("HTTP {status} with an empty body");
    }
    if !text.starts_with('<') {
        return text.to_owned();
    }
    match text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")) {
        Some((title, _)) => format!("HTTP {status} with a web page: {}", title.trim()),
        None => format!("HTTP {status} with a web page"),
    }
}

/// `[{"error":{…}}]`, `{"error":{…}}`, `{"errors":[{…}]}`, or the object itself; a bare string becomes its message.
fn innermost(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().next().map_or(Value::Null, innermost),
        Value::Object(mut map) => {
            for name in ["error", "errors"] {
                match map.get_mut(name).map(Value::take) {
                    // What stands beside it may say more.
                    Some(Value::String(message)) => {
                        map.remove(name);
                        map.entry("message").or_insert(message.into());
                        return Value::Object(map);
                    }
                    Some(Value::Array(items)) if !items.is_empty() => return innermost(Value::Array(items)),
                    Some(Value::Object(mut inner)) => {
                        // Cerebras sends the status beside the object, others the time to wait.
                        for beside in ["status_code", "retry_after", "retryAfter", "retry_after_ms"] {
                            if let Some(value) = map.remove(beside) {
                                inner.entry(beside).or_insert(value);
                            }
                        }
                        return Value::Object(inner);
                    }
                    _ => {}
                }
            }
            Value::Object(map)
        }
        Value::String(message) => serde_json::json!({ "message": message }),
        other => other,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// The message: `message`, `detail`, `title` or `msg`, each a string, a list of violations or an object with one.
fn error_message(body: &Value) -> Option<String> {
    ["message", "detail", "title", "msg", "error_msg"].iter().find_map(|name| match &body[*name] {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Object(_) => error_message(&body[*name]),
        Value::Array(items) => {
            let messages: Vec<String> = items.iter().filter_map(violation).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        }
        _ => None,
    })
}

/// `{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}`
fn violation(item: &Value) -> Option<String> {
    let message = item["msg"].as_str().or_else(|| item.as_str())?;
    let path: Vec<String> = item["loc"].as_array().into_iter().flatten().filter_map(scalar).collect();
    Some(if path.is_empty() { message.to_owned() } else { format!("{}: {message}", path.join(".")) })
}
