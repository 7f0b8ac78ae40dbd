//! Takes secrets out of what providers write: messages and codes reach callers, logs and the journal.

use std::collections::HashSet;

use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};

use super::bounds::{MAX_CODE_CHARS, MAX_MESSAGE_CHARS};
use crate::domain::Candidate;

/// Stands in the place of a secret.
const MASK: &str = "[key]";
/// A run of this many characters of a key is a secret, in any case and in Base64.
const RUN: usize = 8;
/// Shorter keys are not searched for: they would be found in ordinary words.
const MIN_KEY_CHARS: usize = 4;

/// A message of a provider: printable, of bounded length, without the provider's keys and words that look like a key.
pub(crate) fn message(candidate: &Candidate, message: &str) -> String {
    without_secrets(keys_of(candidate), message)
}

/// An error code of a provider: at most 64 letters, digits and `_-.:/`. `None` where it contains a key.
pub(crate) fn code(candidate: &Candidate, code: &str) -> Option<String> {
    let head: String = code.chars().take(MAX_MESSAGE_CHARS).collect();
    if without_secrets(keys_of(candidate), &head) != printable(&head) {
        return None;
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    Some(head.chars().take(MAX_CODE_CHARS).map(|c| if safe(c) { c } else { '_' }).collect())
}

fn keys_of(candidate: &Candidate) -> impl Iterator<Item = &SecretString> {
    candidate.account.keys.iter().chain([&candidate.key]).filter_map(|key| key.secret.as_ref())
}

pub(crate) fn without_secrets<'k>(keys: impl Iterator<Item = &'k SecretString>, message: &str) -> String {
    // A key is taken out before the message is cut, so that no part of it stays at the cut.
    let mut clean = printable(&message.chars().take(4 * MAX_MESSAGE_CHARS).collect::<String>());
    let mut runs = HashSet::new();
    for key in keys {
        let key = key.expose_secret();
        if key.len() >= RUN {
            add_runs(key, &mut runs);
        } else if key.len() >= MIN_KEY_CHARS {
            clean = clean.replace(key, MASK);
        }
    }
    if !runs.is_empty() {
        clean = without_runs(&clean, &runs);
    }
    without_words_like_keys(&clean).chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Without characters that could begin a line of their own in a log or in a header.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

/// Adds every run of a key, as it is and in Base64 at each of the three alignments.
fn add_runs(key: &str, runs: &mut HashSet<[u8; RUN]>) {
    let base64 = |shift: usize| {
        let encoded = BASE64.encode(&[&b"xxx"[..shift], key.as_bytes()].concat());
        // The first characters also contain what stands before the key.
        encoded.trim_end_matches('=')[if shift == 0 { 0 } else { 4 }..].to_owned()
    };
    for text in [key.to_owned(), base64(0), base64(1), base64(2)] {
        runs.extend(text.as_bytes().windows(RUN).filter_map(|run| run.try_into().ok()).map(folded));
    }
}

/// Letters in lower case, and the alphabet of URLs as that of Base64.
fn folded(mut run: [u8; RUN]) -> [u8; RUN] {
    for byte in &mut run {
        *byte = match *byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other.to_ascii_lowercase(),
        };
    }
    run
}

fn without_runs(text: &str, runs: &HashSet<[u8; RUN]>) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut masked_to) = (0, 0);
    for (at, window) in text.as_bytes().windows(RUN).enumerate() {
        let is_secret = window.try_into().is_ok_and(|run| runs.contains(&folded(run)));
        if is_secret {
            if at > masked_to || masked_to == 0 {
                out.push_str(&text[copied..at]);
                out.push_str(MASK);
            }
            masked_to = at + RUN;
            copied = masked_to;
        }
    }
    out.push_str(&text[copied..]);
    out
}

fn without_words_like_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_bearer = false;
    let outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'));
    for word in text.split_inclusive(outside) {
        let end = word.trim_end_matches(outside);
        let secret = looks_like_a_key(end) || (after_bearer && end.len() >= 6);
        out.push_str(if secret { MASK } else { end });
        out.push_str(&word[end.len()..]);
        after_bearer = end.eq_ignore_ascii_case("bearer") || (after_bearer && end.is_empty());
    }
    out
}

fn looks_like_a_key(word: &str) -> bool {
    const PREFIXES: [&str; 10] = ["sk-", "gsk_", "csk-", "AIza", "AQ.", "nvapi-", "hf_", "ghp_", "github_pat_", "xai-"];
    let follows = |prefix: &&str| word.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    PREFIXES.iter().any(|prefix| follows(prefix) && word.len() >= prefix.len() + 8)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;
    use crate::upstream::test_support::candidate;

    #[test]
    fn messages_are_redacted() {
        let key = SecretString::from("very-own-key");
        let clean = |message: &str| without_secrets([&key].into_iter(), message);
        assert_eq!(clean("wrong key very-own-key."), "wrong key [key].");
        assert_eq!(
            clean("Incorrect API key provided: sk-proj-abcdef123456, see"),
            "Incorrect API key provided: [key], see"
        );
        assert_eq!(clean("sent `Bearer abcdef.ghi` to"), "sent `Bearer [key]` to");
        assert_eq!(clean("Authorization: \"bearer  zzzzzzzz\""), "Authorization: \"bearer  [key]\"");
        assert_eq!(clean("csk-12345678 GSK_12345678 AIza12345678"), "[key] [key] [key]");
        assert_eq!(clean("a risk-free task, ask-me"), "a risk-free task, ask-me");
        assert_eq!(clean(&"é".repeat(2_000)).chars().count(), MAX_MESSAGE_CHARS);
        assert_eq!(clean("one\r\ntwo\u{2028}three\0"), "one  two three ");
    }

    #[test]
    fn no_spelling_of_a_key_passes() {
        let key = "myVeryOwnSecretKey99";
        let secret = SecretString::from(key);
        let (first, second) = key.split_at(10);
        for written in [
            key.to_owned(),
            key.to_uppercase(),
            format!("{first} {second}"),
            format!("{}*****{}", &key[..12], &key[16..]),
            BASE64.encode(key.as_bytes()),
            BASE64.encode(format!("a:{key}").as_bytes()),
            BASE64URL_NOPAD.encode(format!("ab:{key}").as_bytes()),
            format!("{}{key}", "x".repeat(MAX_MESSAGE_CHARS - 10)),
            format!("é{key}é"),
        ] {
            let clean = without_secrets([&secret].into_iter(), &format!("bad {written}")).to_lowercase();
            let folded = written.to_lowercase();
            for run in folded.as_bytes().windows(RUN) {
                let run = std::str::from_utf8(run).unwrap_or("é");
                let is_of_key = key.to_lowercase().contains(run);
                assert!(!is_of_key || !clean.contains(run), "{written}: {clean}");
            }
            assert!(!clean.contains(&BASE64.encode(key.as_bytes())[..RUN].to_lowercase()), "{clean}");
        }
    }

    #[test]
    fn a_code_is_short_safe_and_no_key() {
        let candidate = candidate("groq");
        assert_eq!(code(candidate, "model_not_found").as_deref(), Some("model_not_found"));
        assert_eq!(code(candidate, "a b\r\nx-evil: 1").as_deref(), Some("a_b__x-evil:_1"));
        assert_eq!(code(candidate, &"x".repeat(200_000)).map(|code| code.len()), Some(MAX_CODE_CHARS));
        assert_eq!(code(candidate, "test-key-0123"), None);
        assert_eq!(code(candidate, "gsk_abcdefgh12"), None);
    }
}
