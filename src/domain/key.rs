//! Client keys: `sk-tf-<id>-<secret>`. Of a key nothing is kept but its SHA-256.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Keys of members start with this. Such a key must be valid, whatever the mode.
pub const MEMBER_PREFIX: &str = "sk-tf-";
/// Base62 characters of a secret: 238 bits.
const SECRET_CHARS: usize = 40;
/// No secret that somebody else made may be shorter.
pub const SECRET_LEAST: usize = 32;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Of an id of ours, behind its first letter.
const ID_CHARS: usize = 7;

/// A key as we keep it: its SHA-256, compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// First 8 hex digits: names a key without telling it.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }

    pub fn is(&self, shown: &Self) -> bool {
        self.0.ct_eq(&shown.0).into()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({}…)", self.short())
    }
}

/// The system has no randomness to give: nothing secret can be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the system gives no random numbers: {0}")]
pub struct NoRandomness(String);

/// Text of characters that nobody can guess, each equally likely.
fn random(length: usize, alphabet: &[u8]) -> Result<String, NoRandomness> {
    // The largest multiple of the alphabet's length: bytes above it would make the first characters likelier.
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
        let even = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(even.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

/// A secret of its own kind: of a session's cookie.
pub fn fresh_secret() -> Result<String, NoRandomness> {
    random(SECRET_CHARS, BASE62)
}

/// A new key of this member.
pub fn fresh_key(id: &str) -> Result<String, NoRandomness> {
    Ok(format!("{}{}", prefix(id), fresh_secret()?))
}

/// A new member's id.
pub fn fresh_id() -> Result<String, NoRandomness> {
    Ok(format!("k{}", random(ID_CHARS, &BASE62[36..].iter().chain(&BASE62[..10]).copied().collect::<Vec<_>>())?))
}

/// What a member's keys begin with: all that may be shown of them.
pub fn prefix(id: &str) -> String {
    format!("{MEMBER_PREFIX}{id}-")
}

/// Whose key this is, as it says itself.
pub fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(MEMBER_PREFIX)?.rsplit_once('-')?;
    (is_id(id) && !secret.is_empty()).then_some(id)
}

/// Whether a member may be called so: `admin` and the callers without a record have names of their own.
pub fn is_id(id: &str) -> bool {
    (2..=40).contains(&id.len())
        && id != "admin"
        && id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_tells_whose_it_is_and_no_two_are_alike() {
        let ids: HashSet<String> = (0..200).map(|_| fresh_id().unwrap()).collect();
        assert_eq!(ids.len(), 200);
        for id in &ids {
            assert!(is_id(id) && id.len() == 8, "{id}");
            let (key, other) = (fresh_key(id).unwrap(), fresh_key(id).unwrap());
            assert_ne!(key, other);
            assert_eq!(id_of(&key), Some(id.as_str()));
            let secret = key.strip_prefix(&prefix(id)).unwrap();
            assert!(secret.len() >= SECRET_LEAST && secret.bytes().all(|c| c.is_ascii_alphanumeric()), "{key}");
        }
        assert_eq!(id_of("sk-tf-ann-s-laptop-SECRET"), Some("ann-s-laptop"));
        for not in ["sk-tf-", "sk-tf-x", "sk-tf-ann-", "sk-tf-Ann-x", "sk-tf-admin-x", "sk-ann-x", "sk-tf-a:b-x"] {
            assert_eq!(id_of(not), None, "{not}");
        }
    }

    #[test]
    fn every_character_of_an_alphabet_comes() {
        let seen: HashSet<u8> = (0..100).flat_map(|_| random(64, BASE62).unwrap().into_bytes()).collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_digest_is_read_as_it_is_written_and_shows_little_of_itself() {
        let digest = KeyDigest::of("sk-tf-ann-x");
        assert!(KeyDigest::from_hex(&digest.hex()).unwrap().is(&digest));
        assert!(KeyDigest::from_hex(&digest.hex().to_uppercase()).unwrap().is(&digest));
        assert!(!digest.is(&KeyDigest::of("sk-tf-ann-y")));
        for wrong in ["", "abc", &"g".repeat(64), &"é".repeat(32)] {
            assert!(KeyDigest::from_hex(wrong).is_none());
        }
        assert_eq!(format!("{digest:?}").len(), "KeyDigest(12345678…)".len());
    }
}
