//! What a provider said instead of an answer, in whatever envelope it came.

use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::hints;
use crate::domain::Candidate;

/// Longest message that is passed on.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// One response, taken apart. Dialects classify it by provider, status and code, in that order.
#[derive(Debug)]
pub(crate) struct ErrorResponse<'a> {
    pub candidate: &'a Candidate,
    /// The HTTP status; of an error inside a 200, the status that it names, else 500.
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// The provider's clock, ms.
    pub now_ms: i64,
    pub message: String,
    pub code: Option<String>,
    /// `type`, or Google's `status`.
    pub kind: Option<String>,
    /// The innermost error object; `Null` when the body was no JSON.
    pub body: Value,
    /// The body was no JSON: a proxy's page, Cloudflare's text.
    pub plain: bool,
}

impl<'a> ErrorResponse<'a> {
    pub(super) fn new(candidate: &'a Candidate, status: u16, headers: &'a HeaderMap, body: &[u8]) -> Self {
        let now_ms = hints::now_ms(headers);
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
        response.message = redact(candidate, &response.message);
        response
    }

    fn read(&mut self, body: Value) {
        self.code = scalar(&body["code"]);
        self.kind = scalar(&body["type"]).or_else(|| scalar(&body["status"]));
        self.message = words(&body).unwrap_or_else(|| format!("HTTP {} without a message", self.status));
        if self.status == 200 {
            // Told inside a 200: the true status may stand beside the message.
            let named = [&body["status_code"], &body["code"], &body["status"]];
            let named = named.into_iter().filter_map(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
            self.status = named.filter_map(|n| u16::try_from(n).ok()).find(|n| (400..600).contains(n)).unwrap_or(500);
        }
        self.body = body;
    }

    fn read_plain(&mut self, text: &str) {
        self.plain = true;
        self.message = plain_words(self.status, text.trim());
        if self.status == 200 {
            self.status = 500;
        }
    }

    pub(super) fn code_is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Any of these, in lower case, stands in the message.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    /// `retry-after`, ms.
    pub(super) fn retry_after_ms(&self) -> Option<i64> {
        hints::retry_after_ms(self.headers, self.now_ms)
    }
}

/// A response's sentence for people, where nothing else of it matters. Secrets are still in it.
pub(crate) fn said(status: u16, body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => words(&innermost(value)).unwrap_or_else(|| format!("HTTP {status} without a message")),
        Err(_) => plain_words(status, String::from_utf8_lossy(body).trim()),
    }
}

fn plain_words(status: u16, text: &str) -> String {
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
                    Some(Value::String(message)) => return serde_json::json!({ "message": message }),
                    Some(Value::Array(items)) if !items.is_empty() => return innermost(Value::Array(items)),
                    Some(Value::Object(mut inner)) => {
                        // Cerebras tells the status beside the object.
                        if let Some(status) = map.remove("status_code") {
                            inner.entry("status_code").or_insert(status);
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

/// The sentence for people: `message`, `detail` or `title`, each a string, a list of violations, or an object of one.
fn words(body: &Value) -> Option<String> {
    ["message", "detail", "title", "msg"].iter().find_map(|name| match &body[*name] {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Object(_) => words(&body[*name]),
        Value::Array(items) => {
            let told: Vec<String> = items.iter().filter_map(violation).collect();
            (!told.is_empty()).then(|| told.join("; "))
        }
        _ => None,
    })
}

/// `{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}`
fn violation(item: &Value) -> Option<String> {
    let told = item["msg"].as_str().or_else(|| item.as_str())?;
    let path: Vec<String> = item["loc"].as_array().into_iter().flatten().filter_map(scalar).collect();
    Some(if path.is_empty() { told.to_owned() } else { format!("{}: {told}", path.join(".")) })
}

/// The provider's words with every secret taken out: its keys, and whatever looks like one.
pub(crate) fn redact(candidate: &Candidate, message: &str) -> String {
    let keys = candidate.account.keys.iter().chain([&candidate.key]);
    without_secrets(keys.filter_map(|key| key.secret.as_ref()), message)
}

pub(crate) fn without_secrets<'k>(keys: impl Iterator<Item = &'k SecretString>, message: &str) -> String {
    let mut clean: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    for secret in keys {
        let secret = secret.expose_secret();
        if secret.len() >= 4 && clean.contains(secret) {
            clean = clean.replace(secret, "[key]");
        }
    }
    let mut out = String::with_capacity(clean.len());
    let mut after_bearer = false;
    let outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'));
    for word in clean.split_inclusive(outside) {
        let end = word.trim_end_matches(outside);
        let secret = looks_like_a_key(end) || (after_bearer && end.len() >= 6);
        out.push_str(if secret { "[key]" } else { end });
        out.push_str(&word[end.len()..]);
        after_bearer = end.eq_ignore_ascii_case("bearer") || (after_bearer && end.is_empty());
    }
    out
}

fn looks_like_a_key(word: &str) -> bool {
    const PREFIXES: [&str; 10] = ["sk-", "gsk_", "csk-", "AIza", "AQ.", "nvapi-", "hf_", "ghp_", "github_pat_", "xai-"];
    PREFIXES.iter().any(|prefix| word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_messages() {
        let key = SecretString::from("very-own-key");
        let clean = |message: &str| without_secrets([&key].into_iter(), message);
        assert_eq!(clean("wrong key very-own-key."), "wrong key [key].");
        assert_eq!(
            clean("Incorrect API key provided: sk-proj-abcdef123456, see"),
            "Incorrect API key provided: [key], see"
        );
        assert_eq!(clean("sent `Bearer abcdef.ghi` to"), "sent `Bearer [key]` to");
        assert_eq!(clean("Authorization: \"bearer  zzzzzzzz\""), "Authorization: \"bearer  [key]\"");
        assert_eq!(clean("csk-12345678 gsk_12345678 AIza12345678"), "[key] [key] [key]");
        assert_eq!(clean("a risk-free task, ask-me"), "a risk-free task, ask-me");
        assert_eq!(clean(&"é".repeat(2_000)).chars().count(), MESSAGE_CHARS_MAX);
    }
}
