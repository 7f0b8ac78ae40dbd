//! Patterns for model names: `*` matches any characters, including `/`.

/// Whether the pattern matches the name.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Maximum length of a pattern, in bytes. A discovered model's id has up to 200 characters, before which its provider's stands.
const MAX_LENGTH: usize = 300;

/// Checks a pattern's syntax; the error describes the problem.
pub fn check(pattern: &str) -> Result<(), &'static str> {
    let is_foreign = |c: char| matches!(c, '?' | '[' | ']' | '{' | '}' | '!' | '\\' | '"' | '\'' | '`' | ',');
    match pattern {
        "" => Err("it is empty"),
        long if long.len() > MAX_LENGTH => Err("it is longer than 300 characters"),
        text if text.chars().any(|c| !c.is_ascii_graphic()) => Err("it contains spaces or non-ASCII characters"),
        text if text.chars().any(is_foreign) => Err("the only special character is `*`, which matches any others"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters() {
        for (pattern, name) in [
            ("groq/*", "groq/openai/gpt-oss-120b"),
            ("*/gpt-oss-120b", "cerebras/gpt-oss-120b"),
            ("*gpt-oss*", "groq/openai/gpt-oss-20b"),
            ("g*q/*b", "groq/openai/gpt-oss-20b"),
            ("*", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("groq/*", "cerebras/groq/x"), ("a*b*c", "abd"), ("ab*ba", "aba"), ("groq", "groq/x")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_with_stars() {
        for good in ["free", "groq/*", "*", "openrouter/z-ai/glm-4.5-air:free", "cloudflare/@cf/meta/x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "gr?q/*", "groq/[ab]", "{groq,gemini}/*", "grö/*", &"x".repeat(301)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
