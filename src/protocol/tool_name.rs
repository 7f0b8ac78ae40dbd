//! Names of tools that every provider takes. Clients know longer ones, such as those of MCP servers.

use std::{borrow::Cow, fmt::Write as _};

use sha2::{Digest, Sha256};

/// The longest name of a function that providers accept.
pub(super) const NAME_MAX: usize = 64;
/// Hexadecimal digits that keep apart the names that had to be changed.
const DIGEST_CHARS: usize = 8;

/// The name of a tool as a function of the chat completion. A name that providers do not accept is changed in the same way each
/// time, so that calls in the history keep the name of their tool.
pub(super) fn chat_name(name: &str) -> Cow<'_, str> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() <= NAME_MAX && !name.is_empty() && name.chars().all(is_valid) {
        return Cow::Borrowed(name);
    }
    let mut short: String = name.chars().map(|c| if is_valid(c) { c } else { '_' }).collect();
    short.truncate(NAME_MAX - DIGEST_CHARS - 1);
    short.push('_');
    for byte in Sha256::digest(name.as_bytes()).iter().take(DIGEST_CHARS / 2) {
        // Writing to a `String` cannot fail.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// The names that were changed, and what the client calls those tools.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangedNames(Vec<(String, String)>);

impl ChangedNames {
    /// The name for the provider, which is noted where it is another one.
    pub(super) fn change(&mut self, name: &str) -> String {
        let chat = chat_name(name);
        if let Cow::Owned(chat) = &chat
            && !self.0.iter().any(|(known, _)| known == chat)
        {
            self.0.push((chat.clone(), name.to_owned()));
        }
        chat.into_owned()
    }

    /// The client's name for a tool.
    pub(super) fn original<'n>(&'n self, chat: &'n str) -> &'n str {
        self.0.iter().find(|(known, _)| known == chat).map_or(chat, |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_providers_refuse_is_changed_reproducibly() {
        let long = "x".repeat(80);
        let name = chat_name(&long);
        assert_eq!((name.len(), &name), (NAME_MAX, &chat_name(&long)));
        assert_ne!(name, chat_name(&"x".repeat(81)));
        assert!(chat_name("a.b").starts_with("a_b_"));
        assert_ne!(chat_name("a.b"), chat_name("a_b"));
        assert_eq!(chat_name("mcp__do-it"), "mcp__do-it");
        let mut names = ChangedNames::default();
        let changed = names.change("a.b");
        assert_eq!((names.original(&changed), names.original("other")), ("a.b", "other"));
    }
}
