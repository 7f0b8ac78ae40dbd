//! The session that a request belongs to: its client's own name for it, or else how the conversation opens.

use actix_web::http::header::HeaderMap;

use crate::{
    domain::{ChatRequest, KeyDigest},
    protocol::{Protocol, chat},
};

/// Claude Code's session, and the agent within it: each has its own prompt.
const CLAUDE_CODE: [&str; 2] = ["x-claude-code-session-id", "x-claude-code-agent-id"];
/// Codex, by its version.
const CODEX: [&str; 2] = ["session-id", "session_id"];
/// A longer name, or one with other than visible ASCII characters, is replaced by its digest.
const MAX_CHARS: usize = 80;
/// Hex digits of a digest.
const DIGEST_CHARS: usize = 16;

/// What the headers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionHeaders {
    /// Comes before what the body says.
    claude_code: Option<String>,
    /// Comes after it.
    codex: Option<String>,
}

impl SessionHeaders {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
        let claude_code = text(CLAUDE_CODE[0]).map(|session| match text(CLAUDE_CODE[1]) {
            Some(agent) => format!("{session}/{agent}"),
            None => session.to_owned(),
        });
        Self { claude_code, codex: CODEX.into_iter().find_map(text).map(str::to_owned) }
    }

    /// The name of the request's session. Where the client names none, agents are recognised by their protocol or their tools, and
    /// their sessions by the opening of the conversation; other chats have none.
    pub(crate) fn name(self, request: &ChatRequest, protocol: Protocol) -> Option<String> {
        let named = self.claude_code.or_else(|| request.session.clone()).or(self.codex);
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            return Some(safe(name));
        }
        let is_agent = matches!(protocol, Protocol::Messages | Protocol::Responses) || request.tools > 0;
        let opening = is_agent.then(|| chat::opening(&request.body)).flatten()?;
        Some(format!("opening-{}", &opening.hex()[..DIGEST_CHARS]))
    }
}

/// A name that can be recorded.
fn safe(name: String) -> String {
    let is_safe = name.len() <= MAX_CHARS && name.bytes().all(|byte| byte.is_ascii_graphic());
    if is_safe { name } else { format!("named-{}", &KeyDigest::of(&name).hex()[..DIGEST_CHARS]) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn name(headers: &[(&'static str, &'static str)], body: &'static str, protocol: Protocol) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = chat::decode(body.into()).unwrap();
        SessionHeaders::read(&map).name(&request, protocol)
    }

    #[test]
    fn a_session_is_named_by_its_client_or_recognised_by_its_opening() {
        const PLAIN: &str = r#"{"model":"free","messages":[{"role":"user","content":"hi"}]}"#;
        const KEYED: &str = r#"{"model":"free","messages":[{"role":"user","content":"hi"}],"prompt_cache_key":"k-1"}"#;
        const TOOLS: &str = r#"{"model":"free","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
        let claude = [("x-claude-code-session-id", "c-1"), ("session-id", "s-1")];
        assert_eq!(name(&claude, KEYED, Protocol::Messages).as_deref(), Some("c-1"));
        let agent = [("x-claude-code-session-id", "c-1"), ("x-claude-code-agent-id", "a-1")];
        assert_eq!(name(&agent, PLAIN, Protocol::Messages).as_deref(), Some("c-1/a-1"));
        assert_eq!(name(&[("session-id", "s-1")], KEYED, Protocol::Chat).as_deref(), Some("k-1"));
        assert_eq!(name(&[("session_id", "s-1")], PLAIN, Protocol::Responses).as_deref(), Some("s-1"));
        assert_eq!(name(&[], PLAIN, Protocol::Chat), None, "a chat that names no session has none");
        let opening = name(&[], PLAIN, Protocol::Messages).unwrap();
        assert!(opening.starts_with("opening-"), "{opening}");
        assert_eq!(name(&[], TOOLS, Protocol::Chat), Some(opening));
        let secret = name(&[("session-id", "a b")], PLAIN, Protocol::Chat).unwrap();
        assert!(secret.starts_with("named-") && !secret.contains(' '), "{secret}");
    }
}
